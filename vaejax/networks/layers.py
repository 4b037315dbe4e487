"""Layers that the architectures share: convolutions on the fast path, optional group norm."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from vaejax.core.registry import near_names
from vaejax.networks.ops import conv1d, conv2d

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """An activation by its name.

    Raises:
      ValueError: the name is unknown.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {near_names(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


def compute_dtype(name: str) -> Any:
    """The dtype in which networks compute; parameters, losses and codes stay float32.

    Raises:
      ValueError: neither float32 nor bfloat16.
    """
    known = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
    if name not in known:
        raise ValueError(f"unknown compute dtype {near_names(name, known)}")
    return known[name]


def _kernel(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """LeCun's normal initialisation, drawn flat: XLA compiles 4-D draws slowly on CPU."""
    flat = (math.prod(shape[:-1]), shape[-1])
    return linen.initializers.lecun_normal()(key, flat, dtype).reshape(shape)


_CONVOLUTIONS: dict[tuple[int, bool], Callable[..., jax.Array]] = {
    # by the rank of a batch, and whether transposed
    (4, False): conv2d.conv,
    (4, True): conv2d.conv_transpose,
    (3, False): conv1d.conv_1d,
    (3, True): conv1d.conv_transpose_1d,
}


class Conv(linen.Module):
    """A 'SAME' convolution with bias: `[B, H, W, C] -> [B, ⌈H/s⌉, ⌈W/s⌉, features]`.

    With `transpose`, its adjoint: `[B, h, w, C] -> [B, s·h, s·w, features]`. Of signals
    `[B, T, C]` likewise, along their one axis.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    transpose: bool = False
    dtype: Any = jnp.float32
    form: str | None = None  # see `conv2d.default_form`
    scale: float = 1.0  # of the kernel's initialisation
    precision: str | None = None  # of the products on accelerators, as for `jax.lax`

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*(self.kernel_size,) * (x.ndim - 2), x.shape[-1], self.features)
        kernel = self.param("kernel", lambda *given: self.scale * _kernel(*given), shape)
        bias = self.param("bias", linen.initializers.zeros_init(), (self.features,), jnp.float32)
        apply = _CONVOLUTIONS[x.ndim, self.transpose]
        how: dict[str, Any] = {"form": self.form}
        if self.precision is not None:  # of images
            how["precision"] = lax.Precision(self.precision)
        y = apply(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, **how)
        return y + bias.astype(self.dtype).reshape(*(1,) * (y.ndim - 1), -1)


class Norm(linen.Module):
    """Group norm in float32 with at most `groups` groups; with 0 groups, nothing."""

    groups: int = 0

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if not self.groups:
            return x
        groups = math.gcd(self.groups, x.shape[-1])
        return linen.GroupNorm(num_groups=groups, dtype=jnp.float32)(x).astype(x.dtype)


def attach(x: jax.Array, condition: jax.Array | None) -> jax.Array:
    """Features with a condition beside them on the channel axis; None leaves them as they are.

    Args:
      x: `[B, D]`, a map `[B, H, W, C]` or a signal `[B, T, C]`.
      condition: a vector `[B, E]`, repeated over a map's places, or an image `[B, h, w, E]`
        (a signal `[B, t, E]`), resized to a map (a signal) or flattened beside a vector.
    """
    if condition is None:
        return x
    c = condition.astype(x.dtype)
    if x.ndim == 2:
        c = c.reshape(c.shape[0], -1)
    elif c.ndim == 2:
        c = c.reshape(c.shape[0], *(1,) * (x.ndim - 2), c.shape[-1])
        c = jnp.broadcast_to(c, (*x.shape[:-1], c.shape[-1]))
    elif c.shape[1:-1] != x.shape[1:-1]:
        c = jax.image.resize(c, (*x.shape[:-1], c.shape[-1]), "linear")
    return jnp.concatenate([x, c], axis=-1)


def halvings(size: int, times: int) -> list[int]:
    """`size` and what is left of it after each of `times` strides of 2."""
    sizes = [size]
    for _ in range(times):
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def crop(x: jax.Array, *sizes: int) -> jax.Array:
    """The top left `[B, *sizes, C]` of x: undoes the rounding up of odd sizes."""
    return x[(slice(None), *(slice(size) for size in sizes))]
