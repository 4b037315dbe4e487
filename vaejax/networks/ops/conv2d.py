"""Convolutions and transposed convolutions of images, fast on every backend.

All implementations return the same values, up to rounding:

- "native": XLA's convolution, with JAX's own derivatives;
- "product", for CPU, where those derivatives and transposed convolutions are slow, and within
  `lax.scan` slower still by an order of magnitude: matrix products and canonical convolutions
  (`vaejax.networks.ops.conv2d_matmul`), with Winograd's filters if there are enough channels;
- "blocks", for accelerators: strided convolutions, transposed ones above all, are matrix products,
  since cuDNN has no good kernels for them; the others are native;
- "patches", for many kernels at once: under `jax.vmap` a convolution becomes a grouped one, which
  is slow, but a matrix product becomes a batched one. All convolutions are matrix products.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax

from vaejax.networks.ops.conv2d_matmul import correlate, gather, scatter
from vaejax.networks.ops.geometry import (
    DIMENSION_NUMBERS,
    Geometry,
    Precision,
    flip_kernel,
    uses_blocks,
)

__all__ = [
    "IMPLEMENTATIONS",
    "conv",
    "conv_transpose",
    "default_implementation",
    "mapped_over_kernels",
    "using_implementation",
]

IMPLEMENTATIONS = ("native", "product", "blocks", "patches")
_SELECTED: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "implementation", default=None
)


def default_implementation() -> str:
    """The one set by `using_implementation`, else "product" on CPU and "blocks" elsewhere."""
    return _SELECTED.get() or ("product" if jax.default_backend() == "cpu" else "blocks")


@contextlib.contextmanager
def using_implementation(implementation: str | None) -> Iterator[None]:
    """Context manager: sets the default of convolutions traced inside; None for the backend's."""
    token = _SELECTED.set(implementation)
    try:
        yield
    finally:
        _SELECTED.reset(token)


def mapped_over_kernels() -> contextlib.AbstractContextManager[None]:
    """Context manager for tracing convolutions whose kernels are mapped by `jax.vmap`."""
    return using_implementation(None if jax.default_backend() == "cpu" else "patches")


def conv(
    x: jax.Array,
    kernel: jax.Array,
    stride: int = 1,
    *,
    implementation: str | None = None,
    precision: Precision = None,
) -> jax.Array:
    """Convolves images with TensorFlow's 'SAME' padding.

    Every implementation supports every kernel size, stride and number of channels. Those by matrix
    products support repeated reverse-mode differentiation and forward over reverse, but not
    `jax.jvp` or `jax.jacfwd` by themselves.

    Args:
      x: Images, [B, H, W, C].
      kernel: Kernel, [kh, kw, C, O], of the same floating dtype.
      stride: Step of the window in both directions.
      implementation: One of `IMPLEMENTATIONS`; None for `default_implementation()`.
      precision: As for `jax.lax.conv_general_dilated`.

    Returns:
      Images, [B, ceil(H / stride), ceil(W / stride), O], of the dtype of `x`.

    Raises:
      ValueError: The implementation is unknown, the stride is not positive, or shapes or dtypes of
        the arrays do not fit.
    """
    implementation = _checked_implementation("conv", x, kernel, stride, implementation)
    _, height, width, _ = x.shape
    kh, kw, _, _ = kernel.shape
    small = (-(-height // stride), -(-width // stride))
    geometry = Geometry((height, width), small, (kh, kw), stride, implementation)
    if _is_native(kernel.shape, geometry):
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "SAME",
            dimension_numbers=DIMENSION_NUMBERS,
            precision=precision,
        )
    return _conv(x, kernel, geometry, precision)


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    stride: int,
    *,
    implementation: str | None = None,
    precision: Precision = None,
) -> jax.Array:
    """Transposed convolution of images, like `jax.lax.conv_transpose` with 'SAME' padding.

    Args:
      x: Images, [B, h, w, C].
      kernel: Kernel, [kh, kw, C, O], of the same floating dtype.
      stride: Factor by which the images become larger in both directions.
      implementation: As for `conv`.
      precision: As for `jax.lax.conv_transpose`.

    Returns:
      Images, [B, stride * h, stride * w, O], of the dtype of `x`.

    Raises:
      ValueError: The implementation is unknown, the stride is not positive, or shapes or dtypes of
        the arrays do not fit.
    """
    implementation = _checked_implementation("conv_transpose", x, kernel, stride, implementation)
    _, height, width, _ = x.shape
    kh, kw, _, _ = kernel.shape
    large = (stride * height, stride * width)
    geometry = Geometry(large, (height, width), (kh, kw), stride, implementation)
    flipped = flip_kernel(kernel)
    if _is_native(flipped.shape, geometry):
        return lax.conv_transpose(
            x,
            kernel,
            (stride, stride),
            "SAME",
            dimension_numbers=DIMENSION_NUMBERS,
            precision=precision,
        )
    return _conv_transpose(x, flipped, geometry, precision)


def _is_native(shape: tuple[int, ...], geometry: Geometry) -> bool:
    """Whether to use XLA's convolution for a kernel [kh, kw, L, S] of this shape."""
    if geometry.implementation == "blocks":
        return not uses_blocks(shape, geometry)
    return geometry.implementation == "native"


def _checked_implementation(
    name: str, x: jax.Array, kernel: jax.Array, stride: int, implementation: str | None
) -> str:
    """The implementation to use, after checking the arguments of the function `name`."""
    implementation = default_implementation() if implementation is None else implementation
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"{name}: unknown implementation {implementation!r}; known: "
            f"{', '.join(IMPLEMENTATIONS)}."
        )
    if stride < 1:
        raise ValueError(f"{name}: expected a positive stride, found {stride}.")
    if x.ndim != 4:
        raise ValueError(f"{name}: expected x of shape [B, H, W, C], found {x.shape}.")
    if kernel.ndim != 4:
        raise ValueError(f"{name}: expected a kernel [kh, kw, C, O], found {kernel.shape}.")
    if x.shape[3] != kernel.shape[2]:
        raise ValueError(
            f"{name}: expected a kernel of shape [kh, kw, {x.shape[3]}, O] for x of shape "
            f"{x.shape}, found {kernel.shape}."
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name}: expected x of a floating dtype, found {x.dtype}.")
    if x.dtype != kernel.dtype:
        raise ValueError(f"{name}: expected a kernel of dtype {x.dtype}, found {kernel.dtype}.")
    return implementation


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(x: jax.Array, kernel: jax.Array, geometry: Geometry, precision: Precision) -> jax.Array:
    return gather(x, kernel, geometry, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv_transpose(
    x: jax.Array, kernel: jax.Array, geometry: Geometry, precision: Precision
) -> jax.Array:
    return scatter(x, kernel, geometry, precision)


_Pair = tuple[jax.Array, jax.Array]


def _conv_fwd(
    x: jax.Array, kernel: jax.Array, geometry: Geometry, precision: Precision
) -> tuple[jax.Array, _Pair]:
    return gather(x, kernel, geometry, precision), (x, kernel)


def _conv_bwd(geometry: Geometry, precision: Precision, saved: _Pair, g: jax.Array) -> _Pair:
    x, kernel = saved
    return scatter(g, kernel, geometry, precision), correlate(x, g, geometry, precision)


def _conv_transpose_fwd(
    x: jax.Array, kernel: jax.Array, geometry: Geometry, precision: Precision
) -> tuple[jax.Array, _Pair]:
    return scatter(x, kernel, geometry, precision), (x, kernel)


def _conv_transpose_bwd(
    geometry: Geometry, precision: Precision, saved: _Pair, g: jax.Array
) -> _Pair:
    x, kernel = saved
    return gather(g, kernel, geometry, precision), correlate(g, x, geometry, precision)


_conv.defvjp(_conv_fwd, _conv_bwd)
_conv_transpose.defvjp(_conv_transpose_fwd, _conv_transpose_bwd)
