"""Small classifiers, for the features by which generated images are judged.

  python -m vaejax.main --config=configs/classifier.py[:SETTING] --workdir=runs/judge

and then, of a model of the same data, with its own flags,

  python -m vaejax.main --config=configs/beta_vae.py:mnist --workdir=runs/mnist --mode=evaluate
      --config.evaluate.features=runs/judge --config.evaluate.generated=5000

which writes `frechet`, `precision`, `recall`, `density` and `coverage`, see docs/metrics.md. These
are to be compared under one classifier alone; they are not the published FID, for which give
the file of Inception's weights in place of the directory.

Seen: 600 steps of `mnist` (`--config.train.steps=600`) in a minute of processor time: 98.1 % of the
test images right.

sprites        (default) square, ellipse or heart, of embedded sprites
mnist          grey MNIST
fashion_mnist  Fashion-MNIST
cifar10        CIFAR-10
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import choose, defaults


def sprites(config: ConfigDict) -> None:
    """Four convolutions of stride 2, 128 features."""
    config.model = ConfigDict({"features": 128, "network": {"kind": "conv"}})
    rate = {"kind": "cosine", "start": 1e-3, "end": 1e-5, "steps": 2000}
    config.players.classifier = ConfigDict({"minimizes": {"nll": 1.0}, "optimizer": "adamw"})
    config.players.classifier.weight_decay = 0.01
    config.players.classifier.learning_rate = ConfigDict(rate)
    config.train.batch_size = 128
    config.train.steps = 2000


def mnist(config: ConfigDict) -> None:
    """Three convolutions."""
    sprites(config)
    config.data.source = "tfds:mnist"
    config.model.network.update({"kernels": (4, 4, 4), "channels": (32, 64, 64)})


def fashion_mnist(config: ConfigDict) -> None:
    """As for MNIST, for longer."""
    mnist(config)
    config.data.source = "tfds:fashion_mnist"
    config.train.steps = config.players.classifier.learning_rate.steps = 4000


def cifar10(config: ConfigDict) -> None:
    """Wider, for longer."""
    fashion_mnist(config)
    config.data.source = "tfds:cifar10"
    config.model.network.channels = (64, 128, 256)
    config.train.steps = config.players.classifier.learning_rate.steps = 10_000


def get_config(setting: str = "sprites") -> ConfigDict:
    """The config of a setting."""
    config = defaults("classifier")
    settings = {"sprites": sprites, "mnist": mnist, "fashion_mnist": fashion_mnist}
    choose({**settings, "cifar10": cifar10}, setting, "configs/classifier.py")(config)
    return config
