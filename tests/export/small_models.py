"""Small models to export, with parameters and a batch."""

import jax
import numpy as np
import optax

from tests.random_params import random_params
from vaejax import families
from vaejax.data.readers.npz import from_arrays
from vaejax.quantizers import vector

SHAPE = (8, 8, 1)
MLP = {"kind": "mlp", "hidden": (8,)}
_RNG = np.random.RandomState(0)
PIXELS = (_RNG.rand(20, *SHAPE) < 0.5).astype(np.uint8)
SOURCE = from_arrays({"image": PIXELS, "label": np.arange(20) % 4})
VAE = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(1.0))}


def beta_vae(network=None, **options):
    conv = {"kind": "conv", "channels": (4, 8), "kernels": (4, 4), "hidden": 8}
    network = network or conv
    options = {"latent_dim": 3, "likelihood": "bernoulli", **options}
    return families.beta_vae(SHAPE, VAE, network=network, **options)


def vqvae():
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0)), "codebook": ({"vq": 1.0}, optax.sgd(1.0))}
    network = {"kind": "residual", "hidden": 8, "downsamplings": 2, "blocks": 1}
    return families.vqvae(
        SHAPE, players, quantizer=vector(5, 4), network=network, likelihood="bernoulli"
    )


def ladder():
    network = {"kind": "dense", "latent_dims": (3, 5), "hidden": (8, 16)}
    return families.hierarchical(SHAPE, VAE, network=network, merge="precision")


def cvae(**options):
    options = {"latent_dim": 3, "network": MLP, "classes": 4, **options}
    return families.cvae(SHAPE, VAE, **options)


def init(family, source=SOURCE):
    batch = source.decode(source.take(np.arange(16)))
    return random_params(family.model.init, jax.random.key(0), batch), batch
