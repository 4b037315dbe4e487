"""The three linear maps of a convolution, as matrix products or canonical convolutions.

On XLA's CPU backend only canonical convolutions run fast: NHWC and HWIO, no input dilation, no
window reversal. The derivatives JAX asks for and transposed convolutions are not canonical, nor are
they made so inside `lax.scan`, where they cost tens of times a forward pass.

A convolution relates a large image, over which the window slides, to a small one: position j of the
small image and tap k of the kernel meet at pixel stride * j + k - low of the large image. `gather`
sums the large image into the small one (a convolution), `scatter` spreads the small image over the
large one (its data gradient, or a transposed convolution), and `correlate` meets both in a kernel
(the kernel gradient of either). The kernel is [kh, kw, L, S] with L the channels of the large image
and S those of the small one.

Cut into blocks of stride x stride pixels, the large image has D = stride^2 L channels, and a window
covers m = p q whole blocks (zeros fill up the kernel). Shifts by whole blocks are applied to the D
channels of the large image or to the S channels of the small one, whichever moves less memory. In
the form "product", with enough channels, Winograd's filters do the same with fewer products
(`vaejax.networks.winograd`). No map has a `custom_vjp`, so that all can be differentiated in turn.
"""

import functools
import operator
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from vaejax.networks.ops import winograd

Precision: TypeAlias = lax.PrecisionLike

NUMBERS = ("NHWC", "HWIO", "NHWC")
_convolve = functools.partial(lax.conv_general_dilated, dimension_numbers=NUMBERS)
_PIXELS = ((0, 1, 2), (0, 1, 2))
# Large images of at most so many channels are faster by products at stride 1 too.
_FEW_CHANNELS = 4
# Winograd's filters save multiplications in proportion to D S and move memory as D + S.
_FILTERED = 15


class Geometry(NamedTuple):
    """What the three maps share: sizes, (height, width) each, and the form. Static under jit."""

    large: tuple[int, int]
    small: tuple[int, int]
    kernel: tuple[int, int]
    stride: int
    form: str = "product"

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixels before and after the large image; negative after where no window reaches."""
        pairs = []
        for large, small, kernel in zip(self.large, self.small, self.kernel, strict=True):
            total = (small - 1) * self.stride + kernel - large
            low = max(total, 0) // 2
            pairs.append((low, total - low))
        return pairs[0], pairs[1]

    @property
    def span(self) -> tuple[int, int]:
        """How many blocks a window covers."""
        (kh, kw), stride = self.kernel, self.stride
        return -(-kh // stride), -(-kw // stride)

    @property
    def blocks(self) -> tuple[int, int]:
        """How many blocks all windows cover together."""
        (h, w), (p, q) = self.small, self.span
        return h + p - 1, w + q - 1

    @property
    def shifts(self) -> tuple[tuple[int, int], ...]:
        """The blocks of a window, row by row."""
        return tuple((i, j) for i in range(self.span[0]) for j in range(self.span[1]))


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
    if _by_filters(kernel.shape, geometry, x.dtype):
        blocks = _to_blocks(x, geometry, winograd.covered(geometry.small, geometry.span))
        return winograd.gather(blocks, _taps(kernel, geometry), geometry.small, precision)
    if not by_blocks(kernel.shape, geometry):
        strides = (geometry.stride,) * 2
        return _convolve(x, kernel, strides, geometry.padding, precision=precision)
    matrices = _matrices(kernel, geometry)
    m, d, s = matrices.shape
    blocks = _to_blocks(x, geometry)
    if d <= s:
        y = _contract(_patches(blocks, geometry), matrices.reshape(m * d, s), 1, precision)
    else:
        parts = _contract(blocks, matrices.transpose(1, 0, 2).reshape(d, m * s), 1, precision)
        h, w = geometry.small
        y = _sum(
            parts[:, i : i + h, j : j + w, n * s : (n + 1) * s]
            for n, (i, j) in enumerate(geometry.shifts)
        )
    return y.astype(x.dtype)


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
    if _by_filters(kernel.shape, geometry, y.dtype):
        blocks = winograd.scatter(y, _taps(kernel, geometry), precision)
        return _from_blocks(blocks, geometry)
    if geometry.stride == 1 and not by_blocks(kernel.shape, geometry):
        padding = [
            (size - 1 - low, size - 1 - high)
            for size, (low, high) in zip(geometry.kernel, geometry.padding, strict=True)
        ]
        return _convolve(y, turn(kernel), (1, 1), padding, precision=precision)
    matrices = _matrices(kernel, geometry)
    m, d, s = matrices.shape
    # A sum of parts moves less than a concatenation of as many channels, hence the factor.
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
        blocks = _contract(_spread(y, geometry), weights, 1, precision)
    return _from_blocks(blocks.astype(y.dtype), geometry)


def correlate(x: jax.Array, y: jax.Array, geometry: Geometry, precision: Precision) -> jax.Array:
    """Meets both images in a kernel: the gradient of <gather(x, kernel), y> in the kernel.

    Args:
      x: Large image, [B, H, W, L].
      y: Small image, [B, h, w, S].
      geometry: The sizes.
      precision: As for `jax.lax.dot_general`.

    Returns:
      Kernel, [kh, kw, L, S].
    """
    shape = (*geometry.kernel, x.shape[3], y.shape[3])
    if _by_filters(shape, geometry, x.dtype):
        blocks = _to_blocks(x, geometry, winograd.covered(geometry.small, geometry.span))
        taps = winograd.correlate(blocks, y, geometry.span, precision)
        return _from_matrices(taps.reshape(-1, *taps.shape[2:]), geometry)
    if not by_blocks(shape, geometry):
        # Channels stand in for the batch and the batch for channels: a canonical convolution.
        x, y = x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3)
        dilation = (geometry.stride,) * 2
        kernel = _convolve(
            x, y, (1, 1), geometry.padding, rhs_dilation=dilation, precision=precision
        )
        return kernel.transpose(1, 2, 0, 3)
    blocks = _to_blocks(x, geometry)
    m, d, s = len(geometry.shifts), blocks.shape[3], y.shape[3]
    if d <= s:
        matrices = _contract(_patches(blocks, geometry), y, _PIXELS, precision).reshape(m, d, s)
    else:
        matrices = _contract(blocks, _spread(y, geometry), _PIXELS, precision)
        matrices = matrices.reshape(d, m, s).transpose(1, 0, 2)
    return _from_matrices(matrices.astype(x.dtype), geometry)


def turn(kernel: jax.Array) -> jax.Array:
    """Turns a kernel round and swaps its channels: [kh, kw, C, O] to [kh, kw, O, C]."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def by_blocks(shape: tuple[int, ...], geometry: Geometry) -> bool:
    """Whether products over blocks beat convolutions for a kernel of this shape."""
    kh, kw, large, _ = shape
    if geometry.form == "patches":
        return True
    if geometry.stride == 1:
        return (kh, kw) == (1, 1) or large <= _FEW_CHANNELS
    return kh % geometry.stride == kw % geometry.stride == 0


def _by_filters(shape: tuple[int, ...], geometry: Geometry, dtype: jnp.dtype) -> bool:
    """Whether Winograd's filters beat both for a kernel of this shape."""
    kh, kw, large, small = shape
    stride = geometry.stride
    d = stride**2 * large
    return (
        geometry.form == "product"
        and kh % stride == kw % stride == 0
        and set(geometry.span) <= set(winograd.TAPS)
        and min(geometry.small) >= winograd.TILE
        and d * small >= _FILTERED * (d + small)
        and jnp.finfo(dtype).bits >= 32
    )


def _to_blocks(
    x: jax.Array, geometry: Geometry, counts: tuple[int, int] | None = None
) -> jax.Array:
    """Pads [B, H, W, L] and cuts it into blocks, [B, *counts, stride * stride * L]."""
    stride = geometry.stride
    counts = geometry.blocks if counts is None else counts
    padding = [
        (low, count * stride - size - low)
        for (low, _), count, size in zip(geometry.padding, counts, geometry.large, strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    # Strided slices are faster on the CPU than a transposition with few channels innermost.
    pixels = [x[:, i::stride, j::stride] for i in range(stride) for j in range(stride)]
    return jnp.concatenate(pixels, axis=3)


def _from_blocks(blocks: jax.Array, geometry: Geometry) -> jax.Array:
    """Joins [B, *blocks, stride * stride * L] and crops it to [B, H, W, L]."""
    stride = geometry.stride
    b, p, q, d = blocks.shape
    x = blocks.reshape(b, p, q, stride, stride, d // stride**2).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(b, p * stride, q * stride, d // stride**2)
    ((top, _), (left, _)), (height, width) = geometry.padding, geometry.large
    return x[:, top : top + height, left : left + width]


def _matrices(kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Cuts a kernel [kh, kw, L, S] into one matrix a block, [m, stride * stride * L, S]."""
    (p, q), stride = geometry.span, geometry.stride
    kh, kw, large, small = kernel.shape
    kernel = jnp.pad(kernel, ((0, p * stride - kh), (0, q * stride - kw), (0, 0), (0, 0)))
    kernel = kernel.reshape(p, stride, q, stride, large, small).transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(p * q, stride * stride * large, small)


def _taps(kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """The same matrices row by row, [p, q, stride * stride * L, S]."""
    matrices = _matrices(kernel, geometry)
    return matrices.reshape(*geometry.span, *matrices.shape[1:])


def _from_matrices(matrices: jax.Array, geometry: Geometry) -> jax.Array:
    """Joins [m, stride * stride * L, S] into a kernel, [kh, kw, L, S]."""
    (p, q), stride, (kh, kw) = geometry.span, geometry.stride, geometry.kernel
    _, d, s = matrices.shape
    kernel = matrices.reshape(p, q, stride, stride, d // stride**2, s).transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(p * stride, q * stride, d // stride**2, s)[:kh, :kw]


def _patches(blocks: jax.Array, geometry: Geometry) -> jax.Array:
    """Lays the blocks of every window side by side: [B, *blocks, D] to [B, h, w, m * D]."""
    h, w = geometry.small
    windows = [blocks[:, i : i + h, j : j + w] for i, j in geometry.shifts]
    return jnp.concatenate(windows, axis=3)


def _spread(y: jax.Array, geometry: Geometry) -> jax.Array:
    """Lays all windows over every block side by side: [B, h, w, S] to [B, *blocks, m * S]."""
    (p, q), (h, w) = geometry.span, geometry.blocks
    y = jnp.pad(y, ((0, 0), (p - 1, p - 1), (q - 1, q - 1), (0, 0)))
    starts = [(p - 1 - i, q - 1 - j) for i, j in geometry.shifts]
    return jnp.concatenate([y[:, i : i + h, j : j + w] for i, j in starts], axis=3)


def _sum(parts: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, parts)


def _contract(
    x: jax.Array, y: jax.Array, axes: int | tuple[tuple[int, ...], ...], precision: Precision
) -> jax.Array:
    """Multiplies like `jnp.tensordot`, and adds up in at least float32."""
    dtype = jnp.float32 if jnp.finfo(x.dtype).bits < 32 else x.dtype
    return jnp.tensordot(x, y, axes, precision=precision, preferred_element_type=dtype)
