"""The KL autoencoder of latent diffusion (2112.10752): a map of continuous latents.

  python -m vaejax.main --config=configs/autoencoder_kl.py[:SETTING] --workdir=runs/kl

trains on embedded sprites; on your own images with

      --config.data.source=folder:PATH --config.data.image_size=128 --config.data.channels=3

f8                (default) 8 × 8 pixels are one latent of 4 channels
f4                4 × 4 pixels are one latent of 3 channels
latent_diffusion  f8 with the architecture of latent diffusion models, for accelerators: 84 million
                  parameters, recomputed activations, images of 64 pixels or more

The weight of the KL, 1e-6, only keeps the latents' scale from drifting: the latents are nearly
deterministic, and their distribution is learned by a second stage (configs/prior.py:mixture, or a
diffusion model). The features of the perceptual loss are random by default; see configs/vqgan.py
for others, and docs/first_stages.md for how the losses are balanced.
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import config_function

_START = 400  # step from which the discriminator is used


def f8(config: ConfigDict) -> None:
    """Absolute errors, perceptual loss, and a hinge discriminator of patches that starts late."""
    late = {"kind": "delayed", "value": 0.5, "begin": _START}
    config.model = {
        "latent_dim": 4,
        "network": {"kind": "residual", "hidden": 64, "downsamplings": 3, "groups": 8},
        "likelihood": {"kind": "laplace", "scale": 1.0},
        "discriminator": {"kind": "patch", "channels": 16, "layers": 2},
        "adversarial": {"objective": "hinge", "adaptive": True},
        "perceptual": {"features": "random"},
    }
    config.players.vae = {
        "minimizes": {"nll": 1.0, "perceptual": 1.0, "kl": 1e-6, "generator_balanced": late},
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "b1": 0.5,
        "b2": 0.9,
    }
    config.players.discriminator = {
        "minimizes": {"gan": {"kind": "delayed", "value": 0.5, "begin": _START}},
        "optimizer": "adam",
        "learning_rate": 4e-4,
        "b1": 0.5,
        "b2": 0.9,
    }
    config.train.batch_size = 16
    config.train.steps = 1200
    config.train.checkpoint_every = 600
    config.train.ema_decay = 0.99
    config.evaluate.metrics = "psnr,ssim"


def f4(config: ConfigDict) -> None:
    """Larger maps of latents."""
    f8(config)
    config.model.latent_dim = 3
    config.model.network.downsamplings = 2


def latent_diffusion(config: ConfigDict) -> None:
    """Four levels with attention in the middle, and a discriminator of 70 × 70 pixels."""
    f8(config)
    del config.model.network
    channels = (128, 256, 512, 512)
    config.model.network = {"kind": "latent_diffusion", "channels": channels, "remat": True}
    config.model.discriminator.update({"channels": 64, "layers": 3})
    for player in (config.players.vae, config.players.discriminator):
        player.learning_rate = 1e-4
    config.players.vae.minimizes.generator_balanced.begin = 50_000
    config.players.discriminator.minimizes.gan.begin = 50_000
    config.train.steps = 300_000
    config.train.checkpoint_every = 10_000
    config.train.ema_decay = 0.999


SETTINGS = {"f8": f8, "f4": f4, "latent_diffusion": latent_diffusion}

get_config = config_function("autoencoder_kl", SETTINGS, family="beta_vae")
