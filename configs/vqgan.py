"""VQGAN (2012.09841): codes of images, with a discriminator of patches and a perceptual loss.

  python -m vaejax.main --config=configs/vqgan.py[:SETTING] --workdir=runs/vqgan

trains on embedded sprites; on your own images with

      --config.data.source=folder:PATH --config.data.image_size=128 --config.data.channels=3

and configs/prior.py with --config.first_stage=runs/vqgan learns a prior over the codes.

vector   (default) 512 codes, learned by moving averages, with revival of dead codes
fsq      finite scalar quantisation (2309.15505), 1,000 codes, no codebook
lfq      lookup-free quantisation (2310.05737), 1,024 codes, no codebook
bsq      binary spherical quantisation (2406.07548), the same with features of unit length
sim_vq   4,096 fixed codes in a learned basis (2411.02038)

The features of the perceptual loss are random by default, which needs no file. Better are those of
a classifier of the same images (configs/classifier.py), or LPIPS:

      --config.model.perceptual.features=runs/classifier     or a file lpips.safetensors

See docs/first_stages.md for how the losses are balanced, and what goes wrong.
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import config_function

_START = 400  # step from which the discriminator is used


def vector(config: ConfigDict) -> None:
    """8 × 8 codes of a 64 × 64 image."""
    fsq(config)
    del config.model.quantizer  # a field cannot change its type
    config.model.quantizer = {"kind": "vector", "codes": 512, "dim": 64}
    config.players.vae.minimizes.vq = 0.25 * _SCALE
    config.players.codebook = {
        "minimizes": {"vq": 1.0},
        "optimizer": "ema_codebook",
        "decay": 0.99,
        "revive_below": 0.03,
    }


_SCALE = 4.0  # of vq: nll is an absolute error, whose gradients are larger than a squared error's


def fsq(config: ConfigDict) -> None:
    """The losses and players of all settings."""
    late = {"kind": "delayed", "value": 0.5, "begin": _START}
    config.model = {
        "quantizer": {"kind": "finite_scalar", "levels": (8, 5, 5, 5)},
        "width": 64,
        "network": {"kind": "residual", "hidden": 64, "downsamplings": 3, "groups": 8},
        "likelihood": {"kind": "laplace", "scale": 1.0},
        "discriminator": {"kind": "patch", "channels": 16, "layers": 2},
        "adversarial": {"objective": "hinge", "adaptive": True},
        "perceptual": {"features": "random"},
    }
    config.players.vae = {
        "minimizes": {"nll": 1.0, "perceptual": 1.0, "generator_balanced": late},
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


def lfq(config: ConfigDict) -> None:
    """The entropies favour certain tokens and uniform use of all codes."""
    fsq(config)
    del config.model.quantizer
    config.model.quantizer = {"kind": "lookup_free", "bits": 10}
    config.model.entropies = {"temperature": 1.0}
    config.players.vae.minimizes.update(
        {"vq": 0.25 * _SCALE, "token_entropy": 0.1 * _SCALE, "usage_entropy": -0.1 * _SCALE}
    )


def bsq(config: ConfigDict) -> None:
    """The temperature is lower, since features are at most 1 and codes ±1/√10."""
    lfq(config)
    config.model.quantizer.spherical = True
    config.model.entropies.temperature = 0.1


def sim_vq(config: ConfigDict) -> None:
    """The basis of the codes is trained by gradient descent, and the encoder held to it less.

    On the embedded sprites, with the weight of the other settings half as many codes were used.
    """
    vector(config)
    config.players.vae.minimizes.vq = 0.25
    config.model.quantizer = {"kind": "sim_vq", "codes": 4096, "dim": 64}
    del config.players.codebook
    config.players.codebook = {"minimizes": {"vq": 1.0}, "learning_rate": 1e-3}


SETTINGS = {"vector": vector, "fsq": fsq, "lfq": lfq, "bsq": bsq, "sim_vq": sim_vq}

get_config = config_function("vqgan", SETTINGS, family="vqvae")
