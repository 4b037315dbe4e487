"""Priors over the latents of a trained model.

  python -m vaejax.main --config=configs/prior.py[:SETTING] --config.prior_of=runs/vqvae
      --workdir=runs/prior

and with `--mode=sample --config.sample.top_p=0.9` behind it, samples from the two together. The
data are those of the run that `prior_of` names, encoded once; the prior is given the class
where they have classes. Without `prior_of` each setting learns from small data made on the spot.

Over `configs/vqvae.py:fashion_mnist` (49 codes of 512) the transformer takes 7 minutes of one core
and reaches 138.3 nats, 4.07 bits a code, where uniform codes have 9; with top_p=0.9 its samples
are clothes (docs/figures/prior_fashion_mnist.png). Over `fashion_mnist_bits`, 8 minutes: 130.1
nats, and 3.46 bits per dimension of the whole, where uniform codes give 3.79.

transformer  (default) a causal transformer over the codes of a VQ-VAE of any number of levels
pixel_cnn    a gated PixelCNN (1606.05328) over one map of codes
mixture      Gaussians of full covariance over the one latent vector of a VAE
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import choose, defaults


def transformer(config: ConfigDict) -> None:
    """A million weights; one training example in ten has no class."""
    config.family = "code_prior"
    config.data.source = "synthetic:codes"
    config.data.condition_dropout = 0.1
    config.model = ConfigDict({"conditional": True, "network": {"kind": "transformer"}})
    config.model.network.update({"layers": 4, "width": 128, "heads": 4})
    config.players.prior = ConfigDict({"minimizes": {"nll": 1.0}, "optimizer": "adamw"})
    config.players.prior.update({"weight_decay": 0.01, "clip_norm": 100.0})
    rate = {"kind": "warmup_cosine", "peak": 2e-3, "warmup": 100, "steps": 2000, "end": 2e-5}
    config.players.prior.learning_rate = ConfigDict(rate)
    config.train.batch_size = 64
    config.train.steps = 2000
    config.train.checkpoint_every = 500
    config.train.ema_decay = 0.99
    config.sample.update({"count": 100, "top_k": 0, "top_p": 1.0})


def pixel_cnn(config: ConfigDict) -> None:
    """Six gated layers of 64 channels."""
    transformer(config)
    config.model.network = ConfigDict({"kind": "pixel_cnn", "layers": 6, "width": 64, "kernel": 5})
    config.players.prior.learning_rate.peak = 1e-3


def mixture(config: ConfigDict) -> None:
    """Starts from the k-means clusters of the first batch, which is therefore large."""
    config.family = "gaussian_mixture"
    config.data.source = "synthetic:factors"
    config.model.components = 32
    config.players.prior = ConfigDict({"minimizes": {"nll": 1.0}, "optimizer": "adam"})
    config.players.prior.learning_rate = 1e-2
    config.train.batch_size = 1024
    config.train.steps = 1000
    config.sample.count = 100


def get_config(setting: str = "transformer") -> ConfigDict:
    """The config of a setting."""
    config = defaults("code_prior")
    config.prior_of = ""  # the --workdir of a trained run
    config.prior_step = 0  # of its checkpoint; 0 for the newest
    settings = {"transformer": transformer, "pixel_cnn": pixel_cnn, "mixture": mixture}
    choose(settings, setting, "configs/prior.py")(config)
    return config
