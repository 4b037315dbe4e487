"""VQ-VAE.

  python -m vaejax.main --config=configs/vqvae.py[:SETTING] --workdir=runs/vqvae

sprites        (default) embedded sprites
fashion_mnist  Fashion-MNIST from TFDS
fashion_mnist_bits  the same with a likelihood of 8-bit values, for bits per dimension
cifar10        CIFAR-10 from TFDS: the recipe of 1711.00937's authors, published curve in papers
"""

from ml_collections import ConfigDict

from vaejax.configuration import choose, defaults


def sprites(config: ConfigDict) -> None:
    """Binary images, 16 × 16 codes of 64."""
    config.model = ConfigDict({"codes": 512, "code_dim": 64, "likelihood": {"kind": "bernoulli"}})
    config.model.network = ConfigDict({"kind": "residual", "hidden": 64, "downsamplings": 3})
    config.players.vae = ConfigDict({"minimizes": {"nll": 1.0, "vq": 0.25}, "optimizer": "adam"})
    config.players.vae.learning_rate = 1e-3
    config.players.codebook = ConfigDict({"minimizes": {"vq": 1.0}, "optimizer": "ema_codebook"})
    config.players.codebook.decay = 0.99
    config.players.codebook.revive_below = 0.03
    config.train.batch_size = 32
    config.train.steps = 2000
    config.train.checkpoint_every = 1000


def fashion_mnist(config: ConfigDict) -> None:
    """7 × 7 codes of 512; the likelihood's variance fixed near the error that is reached."""
    sprites(config)
    config.data.source = "tfds:fashion_mnist"
    config.model.likelihood = ConfigDict({"kind": "normal", "scale": 0.1})
    config.model.network = ConfigDict({"kind": "residual", "hidden": 64})
    config.train.batch_size = 64
    config.train.steps = 3000
    config.train.checkpoint_every = 1000


def fashion_mnist_bits(config: ConfigDict) -> None:
    """A discretised logistic a pixel; with `configs/prior.py`, bits per dimension of the whole."""
    fashion_mnist(config)
    config.model.likelihood = ConfigDict({"kind": "discretized_logistic"})


def cifar10(config: ConfigDict) -> None:
    """Batch 32, Adam 3e-4, variance of the training images as the likelihood's."""
    fashion_mnist(config)
    config.data.source = "tfds:cifar10"
    config.model.likelihood.scale = 0.0633**0.5
    config.model.network.hidden = 128
    config.players.vae.learning_rate = 3e-4
    config.train.batch_size = 32
    config.train.steps = 10_000


def get_config(setting: str = "sprites") -> ConfigDict:
    """The config of a setting."""
    config = defaults("vqvae")
    settings = {"sprites": sprites, "fashion_mnist": fashion_mnist, "cifar10": cifar10}
    settings |= {"fashion_mnist_bits": fashion_mnist_bits}
    choose(settings, setting, "configs/vqvae.py")(config)
    return config
