"""The three linear maps of a convolution of stride 1, with fewer multiplications.

Winograd's minimal filters F(2, r) compute two outputs of a filter of r taps with r + 1
multiplications, where the definition has 2 r (Winograd 1980, "Arithmetic Complexity of
Computations"; for networks Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks",
section 4):

    y = A^T [(G g) * (B^T d)]

of r + 1 inputs d and r taps g. Nested over both directions of an image, that is 9 matrix products
for 2x2 taps instead of 16, and 16 for 3x3 instead of 36, each over all tiles of 2x2 outputs of a
batch. The sums before and after cost a little accuracy: rounding errors become about twice as
large.

The other two maps are the transposes of the first in its two arguments, with as many products. None
has a `custom_vjp`, so that all can be differentiated in turn.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["TAPS", "TILE", "correlate", "gather", "input_size", "scatter"]

TILE = 2  # outputs of a tile in each direction

_Matrix = tuple[tuple[float, ...], ...]


class _Filter(NamedTuple):
    """F(2, r): A of [r + 1, 2], G of [r + 1, r] and B^T of [r + 1, r + 1]."""

    a: _Matrix
    g: _Matrix
    b: _Matrix


_FILTERS = {
    2: _Filter(
        a=((1, 0), (1, 1), (0, 1)),
        g=((1, 0), (1, 1), (0, 1)),
        b=((1, -1, 0), (0, 1, 0), (0, -1, 1)),
    ),
    3: _Filter(
        a=((1, 0), (1, 1), (1, -1), (0, -1)),
        g=((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
        b=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    ),
}
TAPS = tuple(_FILTERS)  # the supported filter lengths

_Pair = tuple[int, int]


def input_size(size: _Pair, taps: _Pair) -> _Pair:
    """The input size of the whole tiles that contain `size` outputs."""
    (h, w), (p, q) = (_tiles(size), taps)
    return h * TILE + p - 1, w * TILE + q - 1


def gather(x: jax.Array, kernel: jax.Array, size: _Pair, precision: lax.PrecisionLike) -> jax.Array:
    """Filters images.

    Args:
      x: Images, [B, *input_size(size, (p, q)), D].
      kernel: Taps, [p, q, D, S], p and q in `TAPS`.
      size: Height and width of the result.
      precision: As for `jax.lax.dot_general`.

    Returns:
      The sums over taps (i, j) of x[:, i : i + h, j : j + w] @ kernel[i, j], [B, h, w, S].
    """
    rows, columns = _filters(kernel.shape[:2])
    inputs = _tile_combinations(x, _tiles(size), rows.b, columns.b)
    products = _products(inputs, _transform_kernel(kernel, rows.g, columns.g), (1, 0), precision)
    y = _from_tile_combinations(products, (x.shape[0], *_tiles(size)), rows.a, columns.a)
    return y[:, : size[0], : size[1]]


def scatter(y: jax.Array, kernel: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """Spreads [B, h, w, S] over [B, *input_size((h, w), (p, q)), D]; the transpose of `gather`."""
    rows, columns = _filters(kernel.shape[:2])
    y, tiles = _pad_to_tiles(y)
    outputs = _tile_combinations(y, tiles, rows.a, columns.a)
    products = _products(outputs, _transform_kernel(kernel, rows.g, columns.g), (1, 1), precision)
    return _from_tile_combinations(products, (y.shape[0], *tiles), rows.b, columns.b)


def correlate(
    x: jax.Array, y: jax.Array, taps: _Pair, groups: int, precision: lax.PrecisionLike
) -> jax.Array:
    """Gradients of <gather(x, kernel), y> with respect to the kernel, each of a part of the batch.

    Args:
      x: Images, [B, *input_size((h, w), (p, q)), D].
      y: Images, [B, h, w, S].
      taps: p and q.
      groups: Number of equal parts of the batch.
      precision: As for `jax.lax.dot_general`.

    Returns:
      Their sums over the examples of each group, [groups, p, q, D, S].
    """
    rows, columns = _filters(taps)
    y, tiles = _pad_to_tiles(y)
    numbers = (((1,), (1,)), ((0,), (0,)))

    def product(a: jax.Array, b: jax.Array) -> jax.Array:  # [B h w, D], [B h w, S]
        a, b = (lax.reshape(c, (groups, len(c) // groups, c.shape[1])) for c in (a, b))
        return lax.dot_general(a, b, numbers, precision=precision)  # [groups, D, S]

    products = _map(
        product,
        _tile_combinations(x, tiles, rows.b, columns.b),
        _tile_combinations(y, tiles, rows.a, columns.a),
    )
    grid = [_combine(_transpose(columns.g), line) for line in products]  # [p + 1][q]
    grid = [_combine(_transpose(rows.g), line) for line in zip(*grid, strict=True)]  # [q][p]
    return jnp.stack([jnp.stack(line, 1) for line in zip(*grid, strict=True)], 1)


def _filters(taps: Sequence[int]) -> tuple[_Filter, _Filter]:
    return _FILTERS[taps[0]], _FILTERS[taps[1]]


def _tiles(size: Sequence[int]) -> _Pair:
    return -(-size[0] // TILE), -(-size[1] // TILE)


def _pad_to_tiles(y: jax.Array) -> tuple[jax.Array, _Pair]:
    """[B, h, w, S] padded to whole tiles, and the number of tiles in each direction."""
    h, w = _tiles(y.shape[1:3])
    extra = ((0, 0), (0, h * TILE - y.shape[1]), (0, w * TILE - y.shape[2]), (0, 0))
    return (jnp.pad(y, extra) if any(map(any, extra)) else y), (h, w)


_Grid = list[list[jax.Array]]


def _tile_combinations(x: jax.Array, tiles: _Pair, rows: _Matrix, columns: _Matrix) -> _Grid:
    """Linear combinations of the pixels of each tile, [B h w, D] each, from [B, H, W, D]."""
    (h, w), d = tiles, x.shape[3]

    def pixel_of_tiles(x: jax.Array, axis: int, start: int, count: int) -> jax.Array:
        stop = start + (count - 1) * TILE + 1
        return lax.slice_in_dim(x, start, stop, TILE, axis)

    lines = _combine(rows, [pixel_of_tiles(x, 1, i, h) for i in range(len(rows[0]))])
    return [
        [
            lax.reshape(part, (part.size // d, d))
            for part in _combine(
                columns, [pixel_of_tiles(line, 2, j, w) for j in range(len(columns[0]))]
            )
        ]
        for line in lines
    ]


def _from_tile_combinations(
    products: _Grid, shape: tuple[int, int, int], rows: _Matrix, columns: _Matrix
) -> jax.Array:
    """The transpose of `_tile_combinations` with the same matrices: overlaps are added."""
    parts = [[product.reshape(*shape, -1) for product in line] for line in products]
    lines = [_interleave(_combine(_transpose(columns), line), 2) for line in parts]
    return _interleave(_combine(_transpose(rows), lines), 1)


def _interleave(parts: list[jax.Array], axis: int) -> jax.Array:
    """Interleaves along an axis, adding pixel i + TILE of a tile to pixel i of the next tile."""
    count, beyond = parts[0].shape[axis], len(parts) - TILE

    def padded(part: jax.Array, before: int, after: int) -> jax.Array:
        widths = [(0, 0)] * part.ndim
        widths[axis] = (before, after)
        return jnp.pad(part, widths)

    if beyond:
        inside, outside = parts[:TILE], parts[TILE:]
        parts = [padded(part, 0, 1) for part in inside]
        parts[:beyond] = [
            lax.add(part, padded(other, 1, 0)) for part, other in zip(parts, outside, strict=False)
        ]
    shape = list(parts[0].shape)
    shape[axis] *= TILE
    joined = jnp.stack(parts, axis + 1).reshape(shape)
    return lax.slice_in_dim(joined, 0, count * TILE + beyond, axis=axis)


def _transform_kernel(kernel: jax.Array, rows: _Matrix, columns: _Matrix) -> _Grid:
    """G g G^T of a kernel [p, q, D, S], as matrices [D, S]."""
    return [_combine(columns, list(line)) for line in _combine(rows, list(kernel))]


def _products(x: _Grid, y: _Grid, axes: _Pair, precision: lax.PrecisionLike) -> _Grid:
    numbers = (((axes[0],), (axes[1],)), ((), ()))
    return _map(lambda a, b: lax.dot_general(a, b, numbers, precision=precision), x, y)


def _map(f: Callable[[jax.Array, jax.Array], jax.Array], x: _Grid, y: _Grid) -> _Grid:
    return [[f(a, b) for a, b in zip(*line, strict=True)] for line in zip(x, y, strict=True)]


def _combine(matrix: _Matrix, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """The product of a small constant matrix with a vector of arrays.

    By functions of `jax.lax`: operators take several times as long to trace.
    """

    def scaled(c: float, part: jax.Array) -> jax.Array:
        return part if abs(c) == 1 else lax.mul(part, lax.full_like(part, abs(c)))

    sums = []
    for row in matrix:
        terms = [(c, part) for c, part in zip(row, parts, strict=True) if c]
        terms.sort(key=lambda term: term[0] < 0)  # a positive one first, if there is one
        (first, part), *rest = terms
        total = scaled(first, part) if first > 0 else lax.neg(scaled(first, part))
        for c, part in rest:
            total = (lax.add if c > 0 else lax.sub)(total, scaled(c, part))
        sums.append(total)
    return sums


def _transpose(matrix: _Matrix) -> _Matrix:
    return tuple(zip(*matrix, strict=True))
