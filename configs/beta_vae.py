"""β-VAE.

  python -m vaejax.main --config=configs/beta_vae.py[:SETTING] --workdir=runs/beta_vae

sprites   (default) embedded sprites, the protocol of 1811.12359 shortened, β = 4
mnist     MNIST from TFDS, binarised anew whenever an image is used, β = 1, 16 latents
capacity  sprites with the capacity schedule of 1804.03599 (γ = 100, C from 0 to 25 nats)
"""

from ml_collections import ConfigDict

from vaejax.configuration import choose, defaults


def sprites(config: ConfigDict) -> None:
    """The architecture, optimizer and batch of 1811.12359, for fewer steps."""
    config.model = ConfigDict({"latent_dim": 10, "network": {"kind": "conv"}})
    config.model.likelihood = "bernoulli"
    config.players.vae = ConfigDict({"minimizes": {"nll": 1.0, "kl": 4.0}, "optimizer": "adam"})
    config.players.vae.learning_rate = 5e-4
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
    config.players.vae.minimizes.kl = 1.0
    config.players.vae.learning_rate = 1e-3
    config.train.batch_size = 128


def capacity(config: ConfigDict) -> None:
    """KL is driven to a target that grows."""
    sprites(config)
    config.model.capacity = ConfigDict({"kind": "linear", "start": 0.0, "end": 25.0, "steps": 2500})
    config.players.vae.minimizes = ConfigDict({"nll": 1.0, "kl_capacity": 100.0})


def get_config(setting: str = "sprites") -> ConfigDict:
    """The config of a setting."""
    config = defaults("beta_vae")
    settings = {"sprites": sprites, "mnist": mnist, "capacity": capacity}
    choose(settings, setting, "configs/beta_vae.py")(config)
    return config
