"""Conditional VAE.

  python -m vaejax.main --config=configs/cvae.py[:SETTING] --workdir=runs/cvae

sprites        (default) embedded sprites given their shape
mnist          MNIST from TFDS given the digit, binarised anew whenever an image is used
fashion_mnist  Fashion-MNIST from TFDS given the class
quadrants_1    MNIST: three quadrants predicted from the one at the bottom left (Sohn et al. 2015,
               section 5.1, under the definition of Pyro's tutorial)
quadrants_2    the right half predicted from the left half
quadrants_3    the quadrant at the bottom right predicted from the three others

In the quadrants only hidden pixels count, grey levels are targets of the Bernoulli cross-entropy,
and the decoder sees the given pixels through z alone. −`elbo` is the tutorial's figure; `guess` is
its baseline, a network without latents whose prediction completes what the prior network sees.
On the 10,000 test images, with −log p(x | c) by importance sampling (1,000 draws) beside it:

  python -m vaejax.main --config=configs/cvae.py:quadrants_N --workdir=runs/quadrants_N
    --config.evaluate.samples=1000

  N   −elbo (tutorial, ours after 15 passes)   guess (tutorial)   −log p(x | c)
  1   69.8  (71.8, 70.9)                       100.0 (100.4)      65.2
  2   49.1  (51.0, 50.2)                        61.7  (61.9)      45.6
  3   23.1  (24.2, 23.5)                        25.0  (25.4)      21.2

on one CPU core (AMD EPYC): 6 minutes of processor time each, about 2 of them for the importance
sampling. The tutorial's figures lie near those of 15 of these 20 passes; every further one lowers
them a little. Completions of one quadrant: `docs/figures/cvae_quadrants_1.png`.

Both figures from the same draws, as many as one likes, for a run's `params`:

  vaejax.evaluation.conditional.conditional_nll(family, params, source, particles=1000)
"""

import functools

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import choose, defaults


def sprites(config: ConfigDict) -> None:
    """One z for every shape: prior N(0, I), and a tenth of the examples without their label."""
    config.model = ConfigDict({"latent_dim": 10, "network": {"kind": "conv"}})
    config.model.likelihood = ConfigDict({"kind": "bernoulli"})
    config.model.learned_prior = False
    config.players.vae = ConfigDict({"minimizes": {"nll": 1.0, "kl": 1.0}, "optimizer": "adam"})
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
    config.model.network.kernels = (4, 4, 4)
    config.model.network.channels = (32, 64, 64)
    config.train.batch_size = 128


def fashion_mnist(config: ConfigDict) -> None:
    """Grey levels under a Gaussian of fixed variance."""
    mnist(config)
    config.data.source = "tfds:fashion_mnist"
    config.data.binarize = "none"
    config.model.likelihood = ConfigDict({"kind": "normal", "scale": 0.1})


def quadrants(config: ConfigDict, observed: int) -> None:
    """Every network an MLP 500-500, 200 latents, Adam 1e-3, batch 128."""
    mlp = {"kind": "mlp", "hidden": (500, 500)}
    config.data.source = "tfds:mnist"
    config.data.quadrants = observed
    config.model = ConfigDict({"latent_dim": 200, "network": mlp, "likelihood": "bernoulli"})
    config.model.condition = "condition"
    config.model.conditioned = ()  # the encoder sees the whole image, the decoder z alone
    config.model.prior_network = mlp
    config.model.guess = mlp
    config.players.vae = ConfigDict({"minimizes": {"nll": 1.0, "kl": 1.0}, "optimizer": "adam"})
    config.players.vae.learning_rate = 1e-3
    config.players.guess = ConfigDict({"minimizes": {"guess": 1.0}, "optimizer": "adam"})
    config.train.steps = 20 * 469
    # The prior network ends on a guess that no longer moves, as if it had been learned before.
    config.players.guess.learning_rate = ConfigDict(
        {"kind": "cosine", "start": 1e-3, "end": 0.0, "steps": config.train.steps}
    )
    config.train.batch_size = 128
    config.train.checkpoint_every = 5 * 469


def get_config(setting: str = "sprites") -> ConfigDict:
    """The config of a setting."""
    config = defaults("cvae")
    settings = {"sprites": sprites, "mnist": mnist, "fashion_mnist": fashion_mnist}
    settings |= {f"quadrants_{n}": functools.partial(quadrants, observed=n) for n in (1, 2, 3)}
    choose(settings, setting, "configs/cvae.py")(config)
    return config
