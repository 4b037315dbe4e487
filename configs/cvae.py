"""Conditional VAE.

  python -m vaejax.main --config=configs/cvae.py[:SETTING] --workdir=runs/cvae

sprites        (default) embedded sprites given their shape
mnist          MNIST from TFDS given the digit, binarised afresh at every use
fashion_mnist  Fashion-MNIST from TFDS given the class
quadrants_1    MNIST: three quadrants predicted from the one at the bottom left (Sohn et al. 2015,
               section 5.1, under the definition of Pyro's tutorial)
quadrants_2    the right half predicted from the left half
quadrants_3    the quadrant at the bottom right predicted from the three others
table          a table given its label; give the data: --config.data.source=csv:PATH and
               --config.data.label=COLUMN, or --config.model.condition=condition and
               --config.data.condition=COLUMNS

In the settings with quadrants, only hidden pixels count, grey levels are targets of the Bernoulli
cross-entropy, and the decoder depends on the observed pixels through z only. −`elbo` is the
tutorial's metric; `baseline_nll` is that of its baseline, a network without latents whose
prediction completes the input of the prior network.

Result: on the 10,000 test images, with −log p(x | c) by importance sampling with 1,000 samples:

  python -m vaejax.main --config=configs/cvae.py:quadrants_N --workdir=runs/quadrants_N
    --config.evaluate.importance_samples=1000

  N   −elbo (tutorial, ours after 15 epochs)   baseline_nll (tutorial)   −log p(x | c)
  1   69.8  (71.8, 70.9)                       100.0 (100.4)             65.2
  2   49.1  (51.0, 50.2)                        61.7  (61.9)             45.6
  3   23.1  (24.2, 23.5)                        25.0  (25.4)             21.2

Each run took 6 minutes of processor time on one CPU core (AMD EPYC), about 2 of them for the
importance sampling. The tutorial's values are close to ours after 15 of these 20 epochs; every
further epoch lowers them a little. `docs/figures/cvae_quadrants_1.png` shows completions of one
quadrant.

Both metrics from the same samples, in any number, for the `params` of a run:

  vaejax.evaluation.conditional.conditional_nll(family, params, source, particles=1000)
"""

import functools

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import Setting, config_function

_STEPS_PER_EPOCH = 469  # 60,000 examples in batches of 128


def sprites(config: ConfigDict) -> None:
    """The prior N(0, I) for all shapes; a tenth of the examples without their label."""
    config.model = {"latent_dim": 10, "network": {"kind": "conv"}, "learned_prior": False}
    config.model.condition = "label"  # or "condition", an array of the data
    config.model.likelihood = {"kind": "bernoulli"}
    config.players.vae = {"minimizes": {"nll": 1.0, "kl": 1.0}, "optimizer": "adam"}
    config.players.vae.learning_rate = 1e-3
    config.data.condition_dropout = 0.1
    config.train.batch_size = 64
    config.train.steps = 3000


def mnist(config: ConfigDict) -> None:
    """A convolutional VAE."""
    sprites(config)
    config.data.source = "tfds:mnist"
    config.data.binarize = "dynamic"
    config.model.latent_dim = 16
    config.model.network.update({"kernels": (4, 4, 4), "channels": (32, 64, 64)})
    config.train.batch_size = 128


def fashion_mnist(config: ConfigDict) -> None:
    """Grey levels under a Gaussian of fixed variance."""
    mnist(config)
    config.data.source = "tfds:fashion_mnist"
    config.data.binarize = "none"
    config.model.likelihood = {"kind": "normal", "scale": 0.1}


def quadrants(config: ConfigDict, observed: int) -> None:
    """Every network is an MLP 500-500; 200 latents, Adam 1e-3, batches of 128."""
    mlp = {"kind": "mlp", "hidden": (500, 500)}
    config.data.source = "tfds:mnist"
    config.data.observed_quadrants = observed
    config.model = {
        "latent_dim": 200,
        "likelihood": "bernoulli",
        "condition": "condition",
        "conditioned": (),  # the encoder receives the whole image, the decoder only z
        "network": {**mlp},
        "prior_network": {**mlp},
        "baseline": {**mlp},
    }
    config.train.steps = 20 * _STEPS_PER_EPOCH
    config.players.vae = {"minimizes": {"nll": 1.0, "kl": 1.0}, "optimizer": "adam"}
    config.players.vae.learning_rate = 1e-3
    config.players.baseline = {"minimizes": {"baseline_nll": 1.0}, "optimizer": "adam"}
    # The baseline is constant at the end, as if it had been trained before the prior network.
    config.players.baseline.learning_rate = {
        "kind": "cosine",
        "start": 1e-3,
        "end": 0.0,
        "steps": config.train.steps,
    }
    config.train.batch_size = 128
    config.train.checkpoint_every = 5 * _STEPS_PER_EPOCH


def table(config: ConfigDict) -> None:
    """Each column has its own likelihood."""
    sprites(config)
    config.data.source = "csv:PATH"
    config.model = {"latent_dim": 8, "learned_prior": False, "condition": "label"}
    config.model.network = {"kind": "mlp", "hidden": (128, 128)}
    config.model.likelihood = {"kind": "mixed", "scale": "learned"}
    config.train.steps = 2000


SETTINGS: dict[str, Setting] = {
    "sprites": sprites,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    **{f"quadrants_{n}": functools.partial(quadrants, observed=n) for n in (1, 2, 3)},
    "table": table,
}

get_config = config_function("cvae", SETTINGS)
