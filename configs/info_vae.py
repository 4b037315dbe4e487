"""InfoVAE and WAE-MMD.

  python -m vaejax.main --config=configs/info_vae.py[:SETTING] --workdir=runs/info_vae

sprites  (default) embedded sprites, α = 0, λ = 1000
mnist    MNIST from TFDS with the defaults of the authors' code: α = 0, λ = 50, RBF kernel, 10
         latents, batch 100
wae      MNIST from TFDS, WAE-MMD: λ = 10, inverse multiquadrics of seven scales, 8 latents

The objective is nll + (1−α) · kl + (α+λ−1) · mmd (1706.02262, section 3); the weights below are the
values of these sums, and `--config.players.vae.minimizes.mmd=...` changes one. `mmd` is a squared
distance and near 0.01 in a batch, hence the large λ.

  python -m benchmarks.info_vae

Result: this benchmark trains a plain VAE and InfoVAE equally long (1,500 steps, dense networks,
MNIST). The squared MMD between the z of the test set and the prior is 1.5e-3 for the VAE, 1.2e-3 at
λ = 50 (with the same ELBO, −110.7), and 8.2e-4 at λ = 1000 with the unbiased estimator (ELBO
−120.6); 10 of 10 units are active in each. At λ = 1000 the biased estimator gives 1.1e-3.
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import config_function


def sprites(config: ConfigDict) -> None:
    """The networks of 1811.12359.

    At so large a λ the term (k(0) − E k(z, z')) / B of the biased estimator would contract z.
    """
    config.model = {
        "latent_dim": 10,
        "network": {"kind": "conv"},
        "likelihood": {"kind": "bernoulli"},
        "mmd": {"kernel": "rbf", "scales": (1.0,), "estimator": "unbiased"},
    }
    # α = 0, λ = 1000: kl 1 − α, mmd α + λ − 1.
    config.players.vae = {"minimizes": {"nll": 1.0, "kl": 1.0, "mmd": 999.0}, "optimizer": "adam"}
    config.players.vae.learning_rate = 5e-4
    config.train.batch_size = 64
    config.train.steps = 3000


def mnist(config: ConfigDict) -> None:
    """Two convolutions and a dense layer of 1024 on either side, as in the authors' code."""
    sprites(config)
    config.data.source = "tfds:mnist"
    config.data.binarize = "dynamic"
    config.model.network = {
        "kind": "conv",
        "channels": (64, 128),
        "kernels": (4, 4),
        "hidden": 1024,
        "activation": "leaky_relu",
    }
    config.model.mmd.estimator = "biased"
    # α = 0, λ = 50: kl 1 − α, mmd α + λ − 1.
    config.players.vae.minimizes = {"nll": 1.0, "kl": 1.0, "mmd": 49.0}
    config.players.vae.learning_rate = 1e-4
    config.train.batch_size = 100
    config.train.steps = 6000


def wae(config: ConfigDict) -> None:
    """The cost, kernel and optimizer of the code of 1711.01558, in smaller networks.

    α = 1 leaves nll + λ · mmd. The cost there is 0.05 ‖x − x̂‖², the negative log-density of a
    Gaussian of variance 10 up to a constant, so that `nll` and `elbo` are hardly informative here.
    `kl` has no weight and grows.
    """
    mnist(config)
    config.data.binarize = "none"
    config.model.latent_dim = 8
    config.model.likelihood = {"kind": "normal", "scale": 10**0.5}
    scales = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
    config.model.mmd = {"kernel": "imq", "scales": scales, "estimator": "unbiased"}
    # α = 1, λ = 10: kl 1 − α, mmd α + λ − 1.
    config.players.vae.minimizes = {"nll": 1.0, "kl": 0.0, "mmd": 10.0}
    config.players.vae.learning_rate = 1e-3
    config.players.vae.b1 = 0.5


SETTINGS = {"sprites": sprites, "mnist": mnist, "wae": wae}

get_config = config_function("info_vae", SETTINGS)
