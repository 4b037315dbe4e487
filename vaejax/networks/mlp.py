"""Multilayer perceptrons over flattened events."""

import math
from collections.abc import Sequence

import jax
from flax import linen

from vaejax.networks.layers import activation, attach, compute_dtype
from vaejax.networks.network import Network, from_linen


class MLP(linen.Module):
    """Dense layers with an activation between them: `[B, ...]` (and a condition) -> `[B, *out]`."""

    widths: Sequence[int]
    out: Sequence[int]
    activation: str = "relu"
    dtype: str = "float32"

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        x = attach(x.reshape(x.shape[0], -1).astype(dtype), condition)
        for width in self.widths:
            x = act(linen.Dense(width, dtype=dtype)(x))
        return linen.Dense(math.prod(self.out), dtype=dtype)(x).reshape(-1, *self.out)


def mlp(
    shape: Sequence[int],
    width: int,
    out: int,
    *,
    hidden: Sequence[int] = (512, 256),
    activation: str = "relu",
    dtype: str = "float32",
) -> tuple[Network, Network]:
    """An encoder of events of any `shape` into `[B, width]`, and its mirror image.

    Args:
      shape: of one event; its last axis are channels.
      width: features that the encoder gives.
      out: channels that the decoder gives, in place of the event's own.
      hidden: widths of the encoder's hidden layers; the decoder has them reversed.
      activation: between layers.
      dtype: in which to compute.
    """
    encoder = MLP(tuple(hidden), (width,), activation, dtype)
    decoder = MLP(tuple(hidden)[::-1], (*shape[:-1], out), activation, dtype)
    return from_linen(encoder), from_linen(decoder)
