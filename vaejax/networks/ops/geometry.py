"""The sizes of a 2-D convolution, and the rules that select its computation from them."""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from vaejax.networks.ops import winograd

__all__ = [
    "DIMENSION_NUMBERS",
    "Geometry",
    "Precision",
    "flip_kernel",
    "uses_blocks",
    "uses_winograd",
]

Precision: TypeAlias = lax.PrecisionLike

DIMENSION_NUMBERS = ("NHWC", "HWIO", "NHWC")
# At stride 1, matrix products are also faster for large images of at most so many channels.
_FEW_CHANNELS = 4
# Winograd's filters save multiplications in proportion to D S and move memory as D + S.
_MIN_CHANNEL_RATIO = 15


class Geometry(NamedTuple):
    """Sizes (height, width) of a convolution and its implementation. Static under jit.

    The window slides over the `large` image, and has one position per pixel of the `small` image.
    """

    large: tuple[int, int]
    small: tuple[int, int]
    kernel: tuple[int, int]
    stride: int
    implementation: str = "product"

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
        """Number of blocks that a window covers."""
        (kh, kw), stride = self.kernel, self.stride
        return -(-kh // stride), -(-kw // stride)

    @property
    def blocks(self) -> tuple[int, int]:
        """Number of blocks that all windows together cover."""
        (h, w), (p, q) = self.small, self.span
        return h + p - 1, w + q - 1

    @property
    def shifts(self) -> tuple[tuple[int, int], ...]:
        """Positions of a window's blocks, row by row."""
        return tuple((i, j) for i in range(self.span[0]) for j in range(self.span[1]))


def flip_kernel(kernel: jax.Array) -> jax.Array:
    """The kernel of the transposed convolution: [kh, kw, C, O] flipped, as [kh, kw, O, C]."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def uses_blocks(shape: tuple[int, ...], geometry: Geometry) -> bool:
    """Whether matrix products over blocks are used for a kernel [kh, kw, L, S] of this shape."""
    kh, kw, large, _ = shape
    if geometry.implementation == "patches":
        return True
    if geometry.stride == 1:
        return (kh, kw) == (1, 1) or large <= _FEW_CHANNELS
    return kh % geometry.stride == kw % geometry.stride == 0


def uses_winograd(shape: tuple[int, ...], geometry: Geometry, dtype: jnp.dtype) -> bool:
    """Whether Winograd's filters are faster for a kernel [kh, kw, L, S] of this shape."""
    kh, kw, large, small = shape
    stride = geometry.stride
    d = stride**2 * large
    return (
        geometry.implementation == "product"
        and kh % stride == kw % stride == 0
        and set(geometry.span) <= set(winograd.TAPS)
        and min(geometry.small) >= winograd.TILE
        and d * small >= _MIN_CHANNEL_RATIO * (d + small)
        and jnp.finfo(dtype).bits >= 32
    )
