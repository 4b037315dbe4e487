"""Convolutions and transposed convolutions of signals that are fast on XLA's CPU backend.

The 1-D counterpart of `vaejax.networks.ops.conv2d`, with the same implementations: "native" is
XLA's convolution, "product" a single matrix product of shifted slices, whose derivatives are matrix
products too. It is composed of differentiable operations, so JAX can differentiate it repeatedly.
"blocks" is that product for strides above 1 and native otherwise; "patches" is always the product.

At stride s the signal is cut into blocks of s samples, `[B, n, s·C]`, and slices are shifted by
whole blocks: a kernel of 4 at stride 2 needs two of them.
"""

import jax
import jax.numpy as jnp
from jax import lax

from vaejax.networks.ops.conv2d import IMPLEMENTATIONS, default_implementation

__all__ = ["conv_1d", "conv_transpose_1d"]

_DIMENSION_NUMBERS = ("NWC", "WIO", "NWC")


def conv_1d(
    x: jax.Array, kernel: jax.Array, stride: int = 1, *, implementation: str | None = None
) -> jax.Array:
    """Convolves signals with TensorFlow's 'SAME' padding.

    Args:
      x: signals `[B, T, C]`.
      kernel: `[k, C, O]`, of the same floating dtype.
      stride: step of the window.
      implementation: one of `conv2d.IMPLEMENTATIONS`; None for `conv2d.default_implementation()`.

    Returns:
      Signals `[B, ⌈T / stride⌉, O]` of the dtype of x.

    Raises:
      ValueError: the implementation is unknown, the stride is not positive, or shapes or dtypes of
        the arrays do not fit.
    """
    if _is_native("conv_1d", x, kernel, stride, implementation):
        return lax.conv_general_dilated(
            x, kernel, (stride,), "SAME", dimension_numbers=_DIMENSION_NUMBERS
        )
    batch, length, channels = x.shape
    taps, _, out = kernel.shape
    small, span = -(-length // stride), -(-taps // stride)  # span: number of blocks in a window
    # Tap k of output j multiplies sample stride · j + k - low.
    low = max((small - 1) * stride + taps - length, 0) // 2
    blocks = small + span - 1
    x = jnp.pad(x, ((0, 0), (low, stride * blocks - length - low), (0, 0)))
    x = x.reshape(batch, blocks, stride * channels)
    kernel = jnp.pad(kernel, ((0, stride * span - taps), (0, 0), (0, 0)))
    return _shifted(x, small, span) @ kernel.reshape(-1, out)


def conv_transpose_1d(
    x: jax.Array, kernel: jax.Array, stride: int, *, implementation: str | None = None
) -> jax.Array:
    """Transposed convolution of signals, like `jax.lax.conv_transpose` with 'SAME' padding.

    Args:
      x: signals `[B, t, C]`.
      kernel: `[k, C, O]`, of the same floating dtype.
      stride: factor by which the signals become longer.
      implementation: as for `conv_1d`.

    Returns:
      Signals `[B, stride · t, O]` of the dtype of x.

    Raises:
      ValueError: the implementation is unknown, the stride is not positive, or shapes or dtypes of
        the arrays do not fit.
    """
    if _is_native("conv_transpose_1d", x, kernel, stride, implementation):
        return lax.conv_transpose(
            x, kernel, (stride,), "SAME", dimension_numbers=_DIMENSION_NUMBERS
        )
    batch, length, channels = x.shape
    taps, _, out = kernel.shape
    # Output sample stride · j + r receives sample j + d of x through tap stride · d - r + low.
    low = taps - 1 if stride > taps - 1 else -(-(taps + stride - 2) // 2)
    first, last = -(low // stride), (stride + taps - 2 - low) // stride  # range of d over all r
    span = last - first + 1
    before = stride - 1 - low - stride * first  # taps missing before the first whole row of s
    kernel = jnp.pad(kernel, ((before, stride * span - taps - before), (0, 0), (0, 0)))
    kernel = kernel.reshape(span, stride, channels, out)[:, ::-1]  # [d, r, C, O]
    matrix = kernel.transpose(0, 2, 1, 3).reshape(span * channels, stride * out)
    x = jnp.pad(x, ((0, 0), (max(-first, 0), max(last, 0)), (0, 0)))
    x = x[:, max(first, 0) :]
    return (_shifted(x, length, span) @ matrix).reshape(batch, stride * length, out)


def _shifted(x: jax.Array, length: int, span: int) -> jax.Array:
    """Slices `[B, length, C]` of x, shifted by 0 to span - 1, concatenated on the last axis."""
    if span == 1:
        return x[:, :length]
    return jnp.concatenate([x[:, d : d + length] for d in range(span)], axis=-1)


def _is_native(
    name: str, x: jax.Array, kernel: jax.Array, stride: int, implementation: str | None
) -> bool:
    """Whether to use XLA's convolution, after checking the arguments of the function `name`."""
    implementation = default_implementation() if implementation is None else implementation
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"{name}: unknown implementation {implementation!r}; known: "
            f"{', '.join(IMPLEMENTATIONS)}."
        )
    if stride < 1:
        raise ValueError(f"{name}: expected a positive stride, found {stride}.")
    if x.ndim != 3:
        raise ValueError(f"{name}: expected x of shape [B, T, C], found {x.shape}.")
    if kernel.ndim != 3 or kernel.shape[1] != x.shape[2]:
        raise ValueError(
            f"{name}: expected a kernel of shape [k, {x.shape[2]}, O] for x of shape {x.shape}, "
            f"found {kernel.shape}."
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name}: expected x of a floating dtype, found {x.dtype}.")
    if x.dtype != kernel.dtype:
        raise ValueError(f"{name}: expected a kernel of dtype {x.dtype}, found {kernel.dtype}.")
    return implementation == "native" or (implementation == "blocks" and stride == 1)
