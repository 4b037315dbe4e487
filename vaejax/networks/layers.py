"""Layers shared by the architectures: fast convolutions, group norm, conditions, activations."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax
from jax.typing import DTypeLike

from vaejax.core.registry import near_names
from vaejax.core.types import Options
from vaejax.networks.ops import conv1d, conv2d
from vaejax.networks.ops.spectral_norm import largest_singular_value

__all__ = [
    "ACTIVATIONS",
    "DTYPES",
    "Conv",
    "Norm",
    "activation",
    "check_map",
    "compute_dtype",
    "concat_condition",
    "crop",
    "downsampled_sizes",
    "halve_mask",
    "zero_missing",
]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}
DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The activation function of a name.

    Raises:
      ValueError: the name is unknown.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {near_names(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


def compute_dtype(name: str) -> DTypeLike:
    """The dtype of a network's computation; parameters, losses and codes stay float32.

    Raises:
      ValueError: the name is neither float32 nor bfloat16.
    """
    if name not in DTYPES:
        raise ValueError(f"unknown compute dtype {near_names(name, DTYPES)}")
    return DTYPES[name]


def _kernel(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """LeCun-normal initialisation, sampled as a matrix: XLA compiles 4-D samples slowly on CPU."""
    flat = (math.prod(shape[:-1]), shape[-1])
    return linen.initializers.lecun_normal()(key, flat, dtype).reshape(shape)


_CONVOLUTIONS: dict[tuple[int, bool], Callable[..., jax.Array]] = {
    # (rank of a batch, whether transposed)
    (4, False): conv2d.conv,
    (4, True): conv2d.conv_transpose,
    (3, False): conv1d.conv_1d,
    (3, True): conv1d.conv_transpose_1d,
}


class Conv(linen.Module):
    """A 'SAME' convolution with bias: `[B, H, W, C] -> [B, ⌈H/s⌉, ⌈W/s⌉, features]`.

    With `transpose`, its adjoint: `[B, h, w, C] -> [B, s·h, s·w, features]`. Signals `[B, T, C]`
    are convolved along their only axis in the same way.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    transpose: bool = False
    dtype: DTypeLike = jnp.float32
    implementation: str | None = None  # see `conv2d.default_implementation`
    scale: float = 1.0  # of the kernel's initialisation
    precision: str | None = None  # of matrix products on accelerators, as in `jax.lax`; images only
    spectral_norm: bool = False  # whether the kernel is divided by its largest singular value

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*(self.kernel_size,) * (x.ndim - 2), x.shape[-1], self.features)
        kernel = self.param("kernel", lambda *args: self.scale * _kernel(*args), shape)
        bias = self.param("bias", linen.initializers.zeros_init(), (self.features,), jnp.float32)
        if self.spectral_norm:
            kernel = kernel / largest_singular_value(kernel.reshape(-1, self.features))
        convolve = _CONVOLUTIONS[x.ndim, self.transpose]
        options: Options = {"implementation": self.implementation}
        if self.precision is not None:
            options = {**options, "precision": lax.Precision(self.precision)}
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, **options)
        return y + bias.astype(self.dtype).reshape(*(1,) * (y.ndim - 1), -1)


class Norm(linen.Module):
    """Group norm in float32 with at most `groups` groups; the identity if `groups` is 0."""

    groups: int = 0

    @linen.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """With a mask of positions, the statistics are those of the positions in it."""
        if not self.groups:
            return x
        groups = math.gcd(self.groups, x.shape[-1])
        norm = linen.GroupNorm(num_groups=groups, dtype=jnp.float32)
        if mask is not None:
            mask = jnp.broadcast_to(mask[..., None], x.shape)
        return norm(x, mask=mask).astype(x.dtype)


def zero_missing(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """x `[B, ..., C]` with zeros at the positions that are not in the mask `[B, ...]`.

    So a convolution sees missing positions as 'SAME' padding.
    """
    return x if mask is None else jnp.where(mask[..., None], x, jnp.zeros((), x.dtype))


def halve_mask(mask: jax.Array) -> jax.Array:
    """The mask `[B, ...]` after a stride of 2: true where one of the positions in a block is."""
    for axis in range(1, mask.ndim):
        size = mask.shape[axis]
        padding = [(0, size % 2 if i == axis else 0) for i in range(mask.ndim)]
        shape = (*mask.shape[:axis], -(-size // 2), 2, *mask.shape[axis + 1 :])
        mask = jnp.pad(mask, padding).reshape(shape).any(axis=axis + 1)
    return mask


def concat_condition(x: jax.Array, condition: jax.Array | None) -> jax.Array:
    """`x` with a condition concatenated on the channel axis; unchanged if the condition is None.

    Args:
      x: vectors `[B, D]`, feature maps `[B, H, W, C]` or signals `[B, T, C]`.
      condition: vectors `[B, E]`, broadcast over the positions of a map or signal; or images
        `[B, h, w, E]` (signals `[B, t, E]`), resized to the map (signal) or flattened for vectors.
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


def downsampled_sizes(size: int, times: int) -> list[int]:
    """`size` and the sizes after each of `times` strides of 2, rounded up."""
    sizes = [size]
    for _ in range(times):
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def check_map(x: jax.Array, *sizes: int) -> None:
    """Raises ValueError unless x is a feature map `[B, *sizes, C]`."""
    if x.shape[1:-1] != sizes:
        expected, found = (", ".join(map(str, (*s, "C"))) for s in (sizes, x.shape[1:-1]))
        raise ValueError(
            f"this decoder takes feature maps of shape [B, {expected}], found [B, {found}]; events "
            "of another size need a decoder that is built for them"
        )


def crop(x: jax.Array, *sizes: int) -> jax.Array:
    """The top left `[B, *sizes, C]` of x: removes the rows and columns that rounding up added."""
    return x[(slice(None), *(slice(size) for size in sizes))]
