"""Multilayer perceptrons over flattened events."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.layers import activation, compute_dtype, concat_condition
from vaejax.networks.network import Network, from_linen

__all__ = ["MLP", "mlp"]


class MLP(linen.Module):
    """Dense layers: `[B, ...]`, optionally with a condition, -> `[B, *out_shape]`."""

    widths: Sequence[int]
    out_shape: Sequence[int]
    activation: str = "relu"
    dtype: str = "float32"

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        x = concat_condition(x.reshape(x.shape[0], -1).astype(dtype), condition)
        for width in self.widths:
            x = act(linen.Dense(width, dtype=dtype)(x))
        return linen.Dense(math.prod(self.out_shape), dtype=dtype)(x).reshape(-1, *self.out_shape)


def mlp(
    shape: Sequence[int],
    features: int,
    out_channels: int,
    *,
    hidden: Sequence[int] = (512, 256),
    activation: str = "relu",
    dtype: str = "float32",
    mask_input: bool = False,
) -> tuple[Network, Network]:
    """An encoder of events of any shape into `[B, features]`, and the mirrored decoder.

    Args:
      shape: of one event, channels last.
      features: number of outputs of the encoder.
      out_channels: channels of the decoder's output, `[B, *shape[:-1], out_channels]`.
      hidden: widths of the encoder's hidden layers; the decoder has them in reverse order.
      activation: between layers.
      dtype: of the computation.
      mask_input: whether the encoder also reads the mask of missing values.
    """
    encoder = MLP(tuple(hidden), (features,), activation, dtype)
    decoder = MLP(tuple(hidden)[::-1], (*shape[:-1], out_channels), activation, dtype)
    last_layer = f"Dense_{len(hidden)}/kernel"
    networks = from_linen(encoder), from_linen(decoder, last_layer=last_layer)
    return (_reading_mask(networks[0]), networks[1]) if mask_input else networks


def _reading_mask(encoder: Network) -> Network:
    """The encoder of events with the mask beside them on the last axis; ones without a mask."""

    def beside(x: jax.Array, mask: jax.Array | None) -> jax.Array:
        if mask is None:
            mask = jnp.ones(x.shape if x.ndim == 2 else x.shape[:-1], bool)
        mask = mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))
        return jnp.concatenate([x, mask.astype(x.dtype)], axis=-1)

    return Network(
        lambda key, x, *c: encoder.init(key, beside(x, None), *c),
        lambda params, x, *c: encoder.apply(params, beside(x, None), *c),
        lambda params, mask, x, *c: encoder.apply(params, beside(x, mask), *c),
    )
