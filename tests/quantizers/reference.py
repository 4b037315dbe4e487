"""Tokens, codebooks, and what a quantizer makes of them; the nearest codes in float64."""

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(0)
_RNG = np.random.RandomState(0)
B, T, K, D = 8, 6, 16, 4
TOKENS = _RNG.randn(B, T, D).astype(np.float32)
BOOKS = _RNG.randn(3, K, D).astype(np.float32)


def nearest64(tokens, codebook):
    gaps = tokens[..., None, :].astype(np.float64) - codebook.astype(np.float64)
    return (gaps**2).sum(-1).argmin(-1)


def quantized(quantizer, params, tokens=TOKENS, key=KEY):
    return jax.jit(quantizer.quantize)(params, jnp.asarray(tokens), key)
