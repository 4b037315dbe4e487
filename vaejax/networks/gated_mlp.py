"""The conditional densities of TD-VAE, and how they are told how far apart two times are."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.network import Network, from_linen


class _Gated(linen.Module):
    hidden: Sequence[int]
    out: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.hidden:
            gate = jax.nn.sigmoid(linen.Dense(width)(x))
            x = jnp.tanh(linen.Dense(width)(x)) * gate
        return linen.Dense(self.out)(x)


def gated_mlp(out: int, hidden: Sequence[int] = (50,)) -> Network:
    """tanh(A x) · σ(B x), then a linear map: `[B, F] -> [B, out]` (1806.03107, appendix D).

    Args:
      out: features it gives.
      hidden: width of each layer of gates; none leaves the linear map.
    """
    return from_linen(_Gated(tuple(hidden), out))


def step_features(steps: jax.Array, longest: int) -> jax.Array:
    """Numbers of steps `[B]`, from 1 to `longest`, as features `[B, S]`.

    Their share of the longest, and sines and cosines of periods 2, 4, 8, ... up to at least twice
    the longest: near steps differ in the fast ones, far ones in the slow.
    """
    octaves = max(1, math.ceil(math.log2(2 * longest)))
    steps = steps.astype(jnp.float32)[:, None]
    angle = 2 * jnp.pi * steps * (0.5 ** jnp.arange(1.0, 1 + octaves))[None]
    return jnp.concatenate([steps / longest, jnp.sin(angle), jnp.cos(angle)], axis=1)
