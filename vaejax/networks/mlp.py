"""Multilayer perceptrons over flattened events."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike

from vaejax.core.registry import near_names
from vaejax.networks.layers import activation, compute_dtype, concat_condition
from vaejax.networks.network import Network, from_linen

__all__ = ["INITIAL_WEIGHTS", "MLP", "mlp"]

# Name -> (initializer of kernels, whether biases have the bounds of their kernel or are 0).
INITIAL_WEIGHTS: dict[str, tuple[linen.initializers.Initializer, bool]] = {
    "lecun_normal": (linen.initializers.lecun_normal(), False),
    # Within ±1/√inputs, as PyTorch's Linear.
    "uniform": (linen.initializers.variance_scaling(1 / 3, "fan_in", "uniform"), True),
}


class MLP(linen.Module):
    """Dense layers: `[B, ...]`, optionally with a condition, -> `[B, *out_shape]`."""

    widths: Sequence[int]
    out_shape: Sequence[int]
    activation: str = "relu"
    dtype: str = "float32"
    initial_weights: str = "lecun_normal"

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        x = concat_condition(x.reshape(x.shape[0], -1).astype(dtype), condition)
        for width in self.widths:
            x = act(_dense(width, x.shape[-1], dtype, self.initial_weights)(x))
        last = _dense(math.prod(self.out_shape), x.shape[-1], dtype, self.initial_weights)
        return last(x).reshape(-1, *self.out_shape)


def _dense(width: int, inputs: int, dtype: DTypeLike, initial_weights: str) -> linen.Dense:
    """A dense layer with initial weights by name."""
    kernel, bias_like_kernel = INITIAL_WEIGHTS[initial_weights]

    def bias(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
        bound = 1 / math.sqrt(inputs)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    bias_init = bias if bias_like_kernel else linen.initializers.zeros
    return linen.Dense(width, dtype=dtype, kernel_init=kernel, bias_init=bias_init)


def mlp(
    shape: Sequence[int],
    features: int,
    out_channels: int,
    *,
    hidden: Sequence[int] = (512, 256),
    activation: str = "relu",
    dtype: str = "float32",
    mask_input: bool = False,
    initial_weights: str = "lecun_normal",
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
      initial_weights: lecun_normal, with biases of zero; or uniform, kernels and biases within
        ±1/√inputs, PyTorch's default.

    Raises:
      ValueError: `activation`, `dtype` or `initial_weights` is unknown.
    """
    if initial_weights not in INITIAL_WEIGHTS:
        known = near_names(initial_weights, INITIAL_WEIGHTS)
        raise ValueError(f"unknown initial_weights {known}")
    encoder = MLP(tuple(hidden), (features,), activation, dtype, initial_weights)
    out_shape = (*shape[:-1], out_channels)
    decoder = MLP(tuple(hidden)[::-1], out_shape, activation, dtype, initial_weights)
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
