"""Images and kernels of a convolution, cut into blocks of stride x stride pixels and joined."""

import jax
import jax.numpy as jnp

from vaejax.networks.ops.geometry import Geometry

__all__ = [
    "from_blocks",
    "from_matrices",
    "gather_windows",
    "spread_windows",
    "to_blocks",
    "to_matrices",
    "to_taps",
]


def to_blocks(x: jax.Array, geometry: Geometry, counts: tuple[int, int] | None = None) -> jax.Array:
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


def from_blocks(blocks: jax.Array, geometry: Geometry) -> jax.Array:
    """Joins [B, *blocks, stride * stride * L] and crops it to [B, H, W, L]."""
    stride = geometry.stride
    b, p, q, d = blocks.shape
    x = blocks.reshape(b, p, q, stride, stride, d // stride**2).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(b, p * stride, q * stride, d // stride**2)
    ((top, _), (left, _)), (height, width) = geometry.padding, geometry.large
    return x[:, top : top + height, left : left + width]


def to_matrices(kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Cuts a kernel [kh, kw, L, S] into one matrix per block, [m, stride * stride * L, S]."""
    (p, q), stride = geometry.span, geometry.stride
    kh, kw, large, small = kernel.shape
    kernel = jnp.pad(kernel, ((0, p * stride - kh), (0, q * stride - kw), (0, 0), (0, 0)))
    kernel = kernel.reshape(p, stride, q, stride, large, small).transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(p * q, stride * stride * large, small)


def to_taps(kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """The matrices of `to_matrices` row by row, [p, q, stride * stride * L, S]."""
    matrices = to_matrices(kernel, geometry)
    return matrices.reshape(*geometry.span, *matrices.shape[1:])


def from_matrices(matrices: jax.Array, geometry: Geometry) -> jax.Array:
    """Joins [m, stride * stride * L, S] into a kernel, [kh, kw, L, S]."""
    (p, q), stride, (kh, kw) = geometry.span, geometry.stride, geometry.kernel
    _, d, s = matrices.shape
    kernel = matrices.reshape(p, q, stride, stride, d // stride**2, s).transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(p * stride, q * stride, d // stride**2, s)[:kh, :kw]


def gather_windows(blocks: jax.Array, geometry: Geometry) -> jax.Array:
    """Concatenates the blocks of every window: [B, *blocks, D] to [B, h, w, m * D]."""
    h, w = geometry.small
    windows = [blocks[:, i : i + h, j : j + w] for i, j in geometry.shifts]
    return jnp.concatenate(windows, axis=3)


def spread_windows(y: jax.Array, geometry: Geometry) -> jax.Array:
    """Concatenates all windows over every block: [B, h, w, S] to [B, *blocks, m * S]."""
    (p, q), (h, w) = geometry.span, geometry.blocks
    y = jnp.pad(y, ((0, 0), (p - 1, p - 1), (q - 1, q - 1), (0, 0)))
    starts = [(p - 1 - i, q - 1 - j) for i, j in geometry.shifts]
    return jnp.concatenate([y[:, i : i + h, j : j + w] for i, j in starts], axis=3)
