"""VAE-GAN (1512.09300).

  python -m vaejax.main --config=configs/vae_gan.py[:SETTING] --workdir=runs/vae_gan

sprites        (default) embedded sprites
fashion_mnist  Fashion-MNIST from TFDS
"""

from ml_collections import ConfigDict

from vaejax.configuration import choose, defaults


def fashion_mnist(config: ConfigDict) -> None:
    """The three players of Algorithm 1, the decoder by the non-saturating loss."""
    config.data.source = "tfds:fashion_mnist"
    config.model = ConfigDict({"latent_dim": 32, "objective": "non_saturating", "r1": True})
    config.model.network = {"kind": "conv", "channels": (32, 32, 32), "kernels": (4, 4, 4)}
    config.model.likelihood = "bernoulli"
    config.model.critic = ConfigDict({"channels": (16, 32, 64), "kernel": 4, "hidden": 128})
    config.model.critic.feature_layer = -1
    config.model.real_weight = 2.0  # as much as both kinds of fakes together
    adam = {"optimizer": "adam", "b1": 0.5, "b2": 0.99, "learning_rate": 5e-4}
    players = {
        "encoder": {"minimizes": {"kl": 1.0, "feature": 1.0}},
        "decoder": {"minimizes": {"feature": 0.01, "generator": 1.0}},
        "critic": {"minimizes": {"gan": 1.0, "r1": 0.1}},
    }
    config.players = ConfigDict({name: row | adam for name, row in players.items()})
    config.players.decoder.freeze = ConfigDict(
        {"when": "high", "equilibrium": 0.68, "margin": 0.35}
    )
    config.players.critic.freeze = ConfigDict({"when": "low", "equilibrium": 0.68, "margin": 0.35})
    config.train.batch_size = 64
    config.train.steps = 5000


def sprites(config: ConfigDict) -> None:
    """The same on 64×64 sprites."""
    fashion_mnist(config)
    config.data.source = "sprites:small"
    config.model.latent_dim = 10
    config.model.network.channels = (32, 32, 64, 64)
    config.model.network.kernels = (4, 4, 4, 4)
    config.model.critic.channels = (32, 32, 64, 128)
    config.train.steps = 3000


def get_config(setting: str = "sprites") -> ConfigDict:
    """The config of a setting."""
    config = defaults("vae_gan")
    settings = {"sprites": sprites, "fashion_mnist": fashion_mnist}
    choose(settings, setting, "configs/vae_gan.py")(config)
    return config
