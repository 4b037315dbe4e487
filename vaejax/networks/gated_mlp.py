"""The conditional densities of TD-VAE, and the features of the time difference they depend on."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.network import Network, from_linen

__all__ = ["delta_features", "gated_mlp"]


class _Gated(linen.Module):
    hidden: Sequence[int]
    out_features: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.hidden:
            gate = jax.nn.sigmoid(linen.Dense(width)(x))
            x = jnp.tanh(linen.Dense(width)(x)) * gate
        return linen.Dense(self.out_features)(x)


def gated_mlp(out_features: int, hidden: Sequence[int] = (50,)) -> Network:
    """tanh(A x) · σ(B x), then a linear map (1806.03107, appendix D).

    `[B, F] -> [B, out_features]`.

    Args:
      out_features: number of outputs.
      hidden: width of each gated layer; without any, only the linear map remains.
    """
    return from_linen(_Gated(tuple(hidden), out_features))


def delta_features(delta: jax.Array, max_delta: int) -> jax.Array:
    """Features `[B, S]` of time differences δ `[B]`, from 1 to `max_delta`.

    The ratio δ / max_delta, and sines and cosines of δ with periods 2, 4, 8, ... up to at least
    2 · max_delta: those of short periods distinguish near values of δ, those of long ones far.
    """
    octaves = max(1, math.ceil(math.log2(2 * max_delta)))
    delta = delta.astype(jnp.float32)[:, None]
    angle = 2 * jnp.pi * delta * (0.5 ** jnp.arange(1.0, 1 + octaves))[None]
    return jnp.concatenate([delta / max_delta, jnp.sin(angle), jnp.cos(angle)], axis=1)
