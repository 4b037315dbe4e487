"""Data and families that train quickly, and a folder of checkpoints."""

import dataclasses

import numpy as np
import pytest

from vaejax import families
from vaejax.data.readers.npz import from_arrays
from vaejax.optimizers.build import players
from vaejax.quantizers import vector

SHAPE = (8, 8, 1)


@pytest.fixture
def folder(tmp_path):
    """Where the checkpoints of a test are."""
    return tmp_path / "checkpoints"


@pytest.fixture(scope="session")
def source():
    """40 binary images; with `source(streamed=True)` they are not resident on the devices."""

    def make(streamed=False):
        pixels = (np.random.RandomState(0).rand(40, *SHAPE) < 0.5).astype(np.uint8) * 255
        images = from_arrays(pixels, holdout=0)
        return dataclasses.replace(images, arrays=None) if streamed else images

    return make


@pytest.fixture(scope="session")
def beta_vae():
    """A β-VAE with inner dense layers large enough to be sharded."""
    table = {"vae": {"minimizes": {"nll": 1.0, "kl": 2.0}, "learning_rate": 1e-3}}
    network = {"kind": "mlp", "hidden": (64,)}
    return families.beta_vae(SHAPE, players(table), latent_dim=3, network=network)


@pytest.fixture(scope="session")
def vqvae():
    """`vqvae(optimizer)`: a VQ-VAE with an EMA codebook or a codebook trained by SGD."""
    codebooks = {
        "ema_codebook": {"optimizer": "ema_codebook", "decay": 0.9, "revive_below": 0.03},
        "sgd": {"optimizer": "sgd", "learning_rate": 0.05, "revive_below": 0.03},
    }

    def make(optimizer="ema_codebook"):
        vae = {"minimizes": {"nll": 1.0, "vq": 0.25}, "learning_rate": 1e-3}
        table = {"vae": vae, "codebook": {"minimizes": {"vq": 1.0}, **codebooks[optimizer]}}
        network = {"kind": "mlp", "hidden": (64,)}
        sizes = {"quantizer": vector(64, 64)}  # 4,096 numbers: large enough to be sharded
        return families.vqvae(
            SHAPE, players(table), network=network, likelihood="bernoulli", **sizes
        )

    return make
