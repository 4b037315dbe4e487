"""Convolutions and transposed convolutions in the form that is fast on the backend.

All forms have the same value, up to rounding:

- "native": XLA's convolution, with JAX's own derivatives;
- "product", for CPU, where those derivatives and transposed convolutions are slow, and within
  `lax.scan` slower still by an order of magnitude: matrix products and canonical convolutions
  (`vaejax.networks.convolution_products`), with fewer products where there are channels enough;
- "blocks", for accelerators: strided convolutions, transposed ones above all, are matrix products,
  since cuDNN has no good kernels for them; the others are native;
- "patches", there for many kernels at once: under `jax.vmap` a convolution becomes a grouped one,
  which is slow, and a matrix product a batched one. All are products.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax

from vaejax.networks.ops.conv2d_matmul import (
    NUMBERS,
    Geometry,
    Precision,
    by_blocks,
    correlate,
    gather,
    scatter,
    turn,
)

FORMS = ("native", "product", "blocks", "patches")
_CHOSEN: contextvars.ContextVar[str | None] = contextvars.ContextVar("form", default=None)


def default_form() -> str:
    """Returns what `in_form` says, else "product" on CPU and "blocks" elsewhere."""
    return _CHOSEN.get() or ("product" if jax.default_backend() == "cpu" else "blocks")


@contextlib.contextmanager
def in_form(form: str | None) -> Iterator[None]:
    """What is traced in here has convolutions of this form by default; None: of the backend's."""
    token = _CHOSEN.set(form)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def mapped() -> contextlib.AbstractContextManager[None]:
    """What is traced in here will be mapped over kernels by `jax.vmap`."""
    return in_form(None if jax.default_backend() == "cpu" else "patches")


def conv(
    x: jax.Array,
    kernel: jax.Array,
    stride: int = 1,
    *,
    form: str | None = None,
    precision: Precision = None,
) -> jax.Array:
    """Convolves images, padded 'SAME' in TensorFlow's sense.

    Every form takes every kernel size, stride and number of channels. Those of products can be
    differentiated in reverse mode as often as wanted and forward over reverse, but not by `jax.jvp`
    or `jax.jacfwd` alone.

    Args:
      x: Images, [B, H, W, C].
      kernel: Kernel, [kh, kw, C, O], of the same floating dtype.
      stride: Step of the window in both directions.
      form: One of `FORMS`; None takes `default_form()`.
      precision: As for `jax.lax.conv_general_dilated`.

    Returns:
      Images, [B, ceil(H / stride), ceil(W / stride), O], of the dtype of `x`.

    Raises:
      ValueError: The form is unknown, the stride not positive or the arrays do not fit.
    """
    form = _checked_form("conv", x, kernel, stride, form)
    _, height, width, _ = x.shape
    kh, kw, _, _ = kernel.shape
    small = (-(-height // stride), -(-width // stride))
    geometry = Geometry((height, width), small, (kh, kw), stride, form)
    if _is_native(kernel.shape, geometry):
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=NUMBERS, precision=precision
        )
    return _conv(x, kernel, geometry, precision)


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    stride: int,
    *,
    form: str | None = None,
    precision: Precision = None,
) -> jax.Array:
    """Convolves images with a fractional stride, like `jax.lax.conv_transpose`, padded 'SAME'.

    Args:
      x: Images, [B, h, w, C].
      kernel: Kernel, [kh, kw, C, O], of the same floating dtype.
      stride: How many times larger the images become in both directions.
      form: As for `conv`.
      precision: As for `jax.lax.conv_transpose`.

    Returns:
      Images, [B, stride * h, stride * w, O], of the dtype of `x`.

    Raises:
      ValueError: The form is unknown, the stride not positive or the arrays do not fit.
    """
    form = _checked_form("conv_transpose", x, kernel, stride, form)
    _, height, width, _ = x.shape
    kh, kw, _, _ = kernel.shape
    large = (stride * height, stride * width)
    geometry = Geometry(large, (height, width), (kh, kw), stride, form)
    turned = turn(kernel)
    if _is_native(turned.shape, geometry):
        return lax.conv_transpose(
            x, kernel, (stride, stride), "SAME", dimension_numbers=NUMBERS, precision=precision
        )
    return _conv_transpose(x, turned, geometry, precision)


def _is_native(shape: tuple[int, ...], geometry: Geometry) -> bool:
    """Whether XLA's convolution is taken for a kernel [kh, kw, L, S] of this shape."""
    if geometry.form == "blocks":
        return not by_blocks(shape, geometry)
    return geometry.form == "native"


def _checked_form(name: str, x: jax.Array, kernel: jax.Array, stride: int, form: str | None) -> str:
    """Returns the form to take, or raises if it or the arguments are not what `name` expects."""
    form = default_form() if form is None else form
    if form not in FORMS:
        raise ValueError(f"{name}: unknown form {form!r}; known: {', '.join(FORMS)}.")
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
    return form


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
