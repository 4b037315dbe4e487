"""The three linear maps of a convolution, as matrix products or canonical convolutions.

XLA's CPU backend is fast only for canonical convolutions: NHWC and HWIO, no input dilation, no
window reversal. JAX's derivatives of a convolution and transposed convolutions are not canonical,
and XLA does not rewrite them inside `lax.scan`, where they cost tens of times a forward pass.

A convolution relates a large image, over which the window slides, to a small one: tap k of the
kernel connects position j of the small image to pixel stride * j + k - low of the large one.
`gather` sums the large image into the small one (a convolution), `scatter` spreads the small image
over the large one (its data gradient, or a transposed convolution), and `correlate` maps the two
images to a kernel (the kernel gradient of either). The kernel is [kh, kw, L, S] with L the channels
of the large image and S those of the small one.

Cut into blocks of stride x stride pixels, the large image has D = stride^2 L channels, and a window
covers m = p q whole blocks (the kernel is padded with zeros). Shifts by whole blocks are applied to
the D channels of the large image or to the S channels of the small one, whichever moves less
memory. In the implementation "product", with enough channels, Winograd's filters do the same with
fewer products (`vaejax.networks.ops.winograd`). No map has a `custom_vjp`, so that all can be
differentiated in turn.
"""

import functools
import operator
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax import lax

from vaejax.core.tensor_axis import devices_of_examples, over_examples
from vaejax.networks.ops import winograd
from vaejax.networks.ops.blocks import (
    from_blocks,
    from_matrices,
    gather_windows,
    spread_windows,
    to_blocks,
    to_matrices,
    to_taps,
)
from vaejax.networks.ops.geometry import (
    DIMENSION_NUMBERS,
    Geometry,
    Precision,
    flip_kernel,
    uses_blocks,
    uses_winograd,
)

__all__ = ["correlate", "gather", "scatter"]

_convolve = functools.partial(lax.conv_general_dilated, dimension_numbers=DIMENSION_NUMBERS)
_PIXELS = ((0, 1, 2), (0, 1, 2))
# Layers of equal shapes are traced and lowered once.
_traced_once = functools.partial(jax.jit, static_argnums=(2, 3))


@_traced_once
def gather(x: jax.Array, kernel: jax.Array, geometry: Geometry, precision: Precision) -> jax.Array:
    """Sums the large image into the small one.

    Args:
      x: Large image, [B, H, W, L].
      kernel: Kernel, [kh, kw, L, S].
      geometry: The sizes.
      precision: As for `jax.lax.dot_general`.

    Returns:
      Small image, [B, h, w, S].
    """
    if uses_winograd(kernel.shape, geometry, x.dtype):
        blocks = to_blocks(x, geometry, winograd.input_size(geometry.small, geometry.span))
        return winograd.gather(blocks, to_taps(kernel, geometry), geometry.small, precision)
    if not uses_blocks(kernel.shape, geometry):
        strides = (geometry.stride,) * 2
        return _convolve(x, kernel, strides, geometry.padding, precision=precision)
    matrices = to_matrices(kernel, geometry)
    m, d, s = matrices.shape
    blocks = to_blocks(x, geometry)
    if d <= s:
        y = _contract(gather_windows(blocks, geometry), matrices.reshape(m * d, s), 1, precision)
    else:
        parts = _contract(blocks, matrices.transpose(1, 0, 2).reshape(d, m * s), 1, precision)
        h, w = geometry.small
        y = _sum(
            parts[:, i : i + h, j : j + w, n * s : (n + 1) * s]
            for n, (i, j) in enumerate(geometry.shifts)
        )
    return y.astype(x.dtype)


@_traced_once
def scatter(y: jax.Array, kernel: jax.Array, geometry: Geometry, precision: Precision) -> jax.Array:
    """Spreads the small image over the large one; the transpose of `gather`.

    Args:
      y: Small image, [B, h, w, S].
      kernel: Kernel, [kh, kw, L, S].
      geometry: The sizes.
      precision: As for `jax.lax.dot_general`.

    Returns:
      Large image, [B, H, W, L].
    """
    if uses_winograd(kernel.shape, geometry, y.dtype):
        blocks = winograd.scatter(y, to_taps(kernel, geometry), precision)
        return from_blocks(blocks, geometry)
    if geometry.stride == 1 and not uses_blocks(kernel.shape, geometry):
        padding = [
            (size - 1 - low, size - 1 - high)
            for size, (low, high) in zip(geometry.kernel, geometry.padding, strict=True)
        ]
        return _convolve(y, flip_kernel(kernel), (1, 1), padding, precision=precision)
    matrices = to_matrices(kernel, geometry)
    m, d, s = matrices.shape
    # A sum of parts moves less memory than a concatenation of as many channels: hence the factor 2.
    if d <= 2 * s:
        parts = _contract(y, matrices.transpose(2, 0, 1).reshape(s, m * d), 1, precision)
        p, q = geometry.span
        blocks = _sum(
            jnp.pad(
                parts[..., n * d : (n + 1) * d], ((0, 0), (i, p - 1 - i), (j, q - 1 - j), (0, 0))
            )
            for n, (i, j) in enumerate(geometry.shifts)
        )
    else:
        weights = matrices.transpose(0, 2, 1).reshape(m * s, d)
        blocks = _contract(spread_windows(y, geometry), weights, 1, precision)
    return from_blocks(blocks.astype(y.dtype), geometry)


def correlate(x: jax.Array, y: jax.Array, geometry: Geometry, precision: Precision) -> jax.Array:
    """The gradient of <gather(x, kernel), y> with respect to the kernel.

    Args:
      x: Large image, [B, H, W, L].
      y: Small image, [B, h, w, S].
      geometry: The sizes.
      precision: As for `jax.lax.dot_general`.

    Returns:
      Kernel, [kh, kw, L, S].
    """
    if uses_winograd((*geometry.kernel, x.shape[3], y.shape[3]), geometry, x.dtype):
        # Every device transforms the products of its own examples, so that one kernel is summed
        # over the devices rather than all of its products.
        taps = _correlate_by_filters(x, y, geometry, precision, devices_of_examples(len(x)))
        taps = over_examples(taps).sum(axis=0)
        return from_matrices(taps.reshape(-1, *taps.shape[2:]), geometry)
    return _correlate(x, y, geometry, precision)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _correlate_by_filters(
    x: jax.Array, y: jax.Array, geometry: Geometry, precision: Precision, groups: int
) -> jax.Array:
    """`correlate` by Winograd's filters, of each group of examples: [groups, p, q, D, S]."""
    blocks = to_blocks(x, geometry, winograd.input_size(geometry.small, geometry.span))
    return winograd.correlate(blocks, y, geometry.span, groups, precision)


@_traced_once
def _correlate(x: jax.Array, y: jax.Array, geometry: Geometry, precision: Precision) -> jax.Array:
    shape = (*geometry.kernel, x.shape[3], y.shape[3])
    if not uses_blocks(shape, geometry):
        # Exchanging the roles of channels and batch gives a canonical convolution.
        x, y = x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3)
        dilation = (geometry.stride,) * 2
        kernel = _convolve(
            x, y, (1, 1), geometry.padding, rhs_dilation=dilation, precision=precision
        )
        return kernel.transpose(1, 2, 0, 3)
    blocks = to_blocks(x, geometry)
    m, d, s = len(geometry.shifts), blocks.shape[3], y.shape[3]
    if d <= s:
        matrices = _contract(gather_windows(blocks, geometry), y, _PIXELS, precision)
        matrices = matrices.reshape(m, d, s)
    else:
        matrices = _contract(blocks, spread_windows(y, geometry), _PIXELS, precision)
        matrices = matrices.reshape(d, m, s).transpose(1, 0, 2)
    return from_matrices(matrices.astype(x.dtype), geometry)


def _sum(parts: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, parts)


def _contract(
    x: jax.Array, y: jax.Array, axes: int | tuple[tuple[int, ...], ...], precision: Precision
) -> jax.Array:
    """`jnp.tensordot` that accumulates in at least float32."""
    dtype = jnp.float32 if jnp.finfo(x.dtype).bits < 32 else x.dtype
    return jnp.tensordot(x, y, axes, precision=precision, preferred_element_type=dtype)
