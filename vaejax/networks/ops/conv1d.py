"""Convolutions of signals, and transposed ones, that stay fast on XLA's CPU backend.

As `vaejax.networks.convolution` does for images, of whose forms "native" is XLA's convolution and
"product" a single matrix product of shifted slices, whose derivatives are matrix products too. It
is plain enough that JAX may differentiate it as often as it likes. "blocks" is that product where
there is a stride, "patches" everywhere.

At stride s the signal is cut into blocks of s samples, `[B, n, s·C]`, and slices are shifted by
whole blocks: a kernel of 4 at stride 2 needs two of them.
"""

import jax
import jax.numpy as jnp
from jax import lax

from vaejax.networks.ops.conv2d import FORMS, default_form

_NUMBERS = ("NWC", "WIO", "NWC")


def conv_1d(
    x: jax.Array, kernel: jax.Array, stride: int = 1, *, form: str | None = None
) -> jax.Array:
    """Convolves signals, padded 'SAME' in TensorFlow's sense.

    Args:
      x: signals `[B, T, C]`.
      kernel: `[k, C, O]`, of the same floating dtype.
      stride: step of the window.
      form: one of `convolution.FORMS`; None takes `convolution.default_form()`.

    Returns:
      Signals `[B, ⌈T / stride⌉, O]` of the dtype of x.

    Raises:
      ValueError: the form is unknown, the stride not positive or the arrays do not fit.
    """
    if _is_native("conv_1d", x, kernel, stride, form):
        return lax.conv_general_dilated(x, kernel, (stride,), "SAME", dimension_numbers=_NUMBERS)
    batch, length, channels = x.shape
    taps, _, out = kernel.shape
    small, span = -(-length // stride), -(-taps // stride)  # span: blocks that a window covers
    # Output j and tap k meet at sample stride · j + k - low.
    low = max((small - 1) * stride + taps - length, 0) // 2
    blocks = small + span - 1
    x = jnp.pad(x, ((0, 0), (low, stride * blocks - length - low), (0, 0)))
    x = x.reshape(batch, blocks, stride * channels)
    kernel = jnp.pad(kernel, ((0, stride * span - taps), (0, 0), (0, 0)))
    return _shifted(x, small, span) @ kernel.reshape(-1, out)


def conv_transpose_1d(
    x: jax.Array, kernel: jax.Array, stride: int, *, form: str | None = None
) -> jax.Array:
    """Convolves signals with a fractional stride, like `jax.lax.conv_transpose`, padded 'SAME'.

    Args:
      x: signals `[B, t, C]`.
      kernel: `[k, C, O]`, of the same floating dtype.
      stride: how many times longer the signals become.
      form: as for `conv_1d`.

    Returns:
      Signals `[B, stride · t, O]` of the dtype of x.

    Raises:
      ValueError: the form is unknown, the stride not positive or the arrays do not fit.
    """
    if _is_native("conv_transpose_1d", x, kernel, stride, form):
        return lax.conv_transpose(x, kernel, (stride,), "SAME", dimension_numbers=_NUMBERS)
    batch, length, channels = x.shape
    taps, _, out = kernel.shape
    # Sample stride · j + r of the output meets sample j + d of x at tap stride · d - r + low.
    low = taps - 1 if stride > taps - 1 else -(-(taps + stride - 2) // 2)
    first, last = -(low // stride), (stride + taps - 2 - low) // stride  # the d that any r needs
    span = last - first + 1
    before = stride - 1 - low - stride * first  # taps short of the first whole row of s
    kernel = jnp.pad(kernel, ((before, stride * span - taps - before), (0, 0), (0, 0)))
    kernel = kernel.reshape(span, stride, channels, out)[:, ::-1]  # [d, r, C, O]
    matrix = kernel.transpose(0, 2, 1, 3).reshape(span * channels, stride * out)
    x = jnp.pad(x, ((0, 0), (max(-first, 0), max(last, 0)), (0, 0)))
    x = x[:, max(first, 0) :]
    return (_shifted(x, length, span) @ matrix).reshape(batch, stride * length, out)


def _shifted(x: jax.Array, length: int, span: int) -> jax.Array:
    """Slices `[B, length, C]` of x, shifted by 0 to span - 1, beside one another."""
    if span == 1:
        return x[:, :length]
    return jnp.concatenate([x[:, d : d + length] for d in range(span)], axis=-1)


def _is_native(name: str, x: jax.Array, kernel: jax.Array, stride: int, form: str | None) -> bool:
    """Whether XLA's convolution is taken; raises if the arguments are not what `name` expects."""
    form = default_form() if form is None else form
    if form not in FORMS:
        raise ValueError(f"{name}: unknown form {form!r}; known: {', '.join(FORMS)}.")
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
    return form == "native" or (form == "blocks" and stride == 1)
