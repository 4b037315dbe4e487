"""The compared trainings: one architecture, batch size and dataset for all competitors."""

from typing import NamedTuple

import numpy as np

__all__ = ["CASES", "UNIT", "Case", "data"]

UNIT = 20  # steps of one dispatch of vaejax, and of one epoch of pythae


class Case(NamedTuple):
    """Sizes of one comparison.

    Attributes:
      what: title in the table.
      shape: of one example, channels last; of one token for the quantiser and the search.
      batch: examples per step, or tokens.
      hidden: widths of the hidden layers.
      latent: dimensions of z, or of a code.
      codes: size of the codebook.
    """

    what: str
    shape: tuple[int, ...]
    batch: int
    hidden: tuple[int, ...] = ()
    latent: int = 10
    codes: int = 512


CASES = {
    "mlp": Case("MLP VAE 784-512-256-16", (28, 28, 1), 128, (512, 256), 16),
    "small": Case("MLP VAE 784-128-64-8", (28, 28, 1), 32, (128, 64), 8),
    "tiny": Case("MLP VAE 2-32-32-2", (2,), 64, (32, 32), 2),
    "conv": Case("convolutional β-VAE 64×64, 32-32-64-64, 256", (64, 64, 1), 64, (32, 32, 64, 64)),
    "factor": Case(
        "FactorVAE, the same with a discriminator 6 × 1000", (64, 64, 1), 64, (32, 32, 64, 64)
    ),
    "vqvae": Case(
        "VQ-VAE 32×32×3, 128 channels, 2 residual blocks", (32, 32, 3), 32, (128, 32), 64
    ),
    "kl": Case("AutoencoderKL of diffusers 32×32×3, 32-64-64", (32, 32, 3), 8, (32, 64, 64), 4),
    "quantizer": Case("quantiser, 8,192 tokens × 64, 1,024 codes", (64,), 8192, (), 64, 1024),
    "search": Case("search of 65,536 tokens × 64 in 8,192 codes", (64,), 65_536, (), 64, 8192),
    "td_vae": Case(
        "TD-VAE, 20 frames of 28×28, LSTM 128, z 16 + 16, 4 pairs", (20, 28, 28, 1), 64, (256, 256)
    ),
    "lvae": Case("LVAE (MLP) 512-256-128, z 64-32-16", (28, 28, 1), 256, (512, 256, 128)),
}


def data(name: str) -> np.ndarray:
    """Examples for `UNIT` batches, float32 in [0, 1]; tokens of one batch are normal."""
    case, rng = CASES[name], np.random.default_rng(0)
    if name in ("quantizer", "search"):
        return rng.normal(size=(case.batch, *case.shape)).astype(np.float32)
    shape = (UNIT * case.batch, *case.shape)
    if len(case.shape) == 1:
        return rng.normal(size=shape).astype(np.float32)
    return (rng.random(shape) < 0.2).astype(np.float32)
