"""The three linear maps of a convolution of stride 1, with fewer multiplications.

Winograd's minimal filters F(2, r) give two outputs of a filter of r taps by r + 1 multiplications
where the definition has 2 r (Winograd 1980, "Arithmetic Complexity of Computations"; for networks
Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4):

    y = A^T [(G g) * (B^T d)]

of r + 1 inputs d and r taps g. Nested over both directions of an image, that makes 9 products of
matrices for 2x2 taps where there were 16, and 16 for 3x3 where there were 36, each over all tiles
of 2x2 outputs of a batch. The sums before and after cost a little accuracy: rounding errors become
about twice as large.

The other two maps are the transposes of the first in its two arguments, of as many products. None
has a `custom_vjp`, so that all can be differentiated in turn.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

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
TAPS = tuple(_FILTERS)  # lengths of filters that there are

_Pair = tuple[int, int]


def covered(size: _Pair, taps: _Pair) -> _Pair:
    """Returns the size of the input that whole tiles of at least `size` outputs cover."""
    (h, w), (p, q) = (_tiles(size), taps)
    return h * TILE + p - 1, w * TILE + q - 1


def gather(x: jax.Array, kernel: jax.Array, size: _Pair, precision: lax.PrecisionLike) -> jax.Array:
    """Filters images.

    Args:
      x: Images, [B, *covered(size, (p, q)), D].
      kernel: Taps, [p, q, D, S], p and q in `TAPS`.
      size: Height and width of the result.
      precision: As for `jax.lax.dot_general`.

    Returns:
      The sums over taps (i, j) of x[:, i : i + h, j : j + w] @ kernel[i, j], [B, h, w, S].
    """
    rows, columns = _filters(kernel.shape[:2])
    inputs = _cut(x, _tiles(size), rows.b, columns.b)
    products = _products(inputs, _transformed(kernel, rows.g, columns.g), (1, 0), precision)
    y = _joined(products, (x.shape[0], *_tiles(size)), rows.a, columns.a)
    return y[:, : size[0], : size[1]]


def scatter(y: jax.Array, kernel: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """Spreads [B, h, w, S] over [B, *covered((h, w), (p, q)), D]; the transpose of `gather`."""
    rows, columns = _filters(kernel.shape[:2])
    y, tiles = _whole(y)
    outputs = _cut(y, tiles, rows.a, columns.a)
    products = _products(outputs, _transformed(kernel, rows.g, columns.g), (1, 1), precision)
    return _joined(products, (y.shape[0], *tiles), rows.b, columns.b)


def correlate(x: jax.Array, y: jax.Array, taps: _Pair, precision: lax.PrecisionLike) -> jax.Array:
    """Meets what `gather` takes and what it gives in a kernel, [p, q, D, S]."""
    rows, columns = _filters(taps)
    y, tiles = _whole(y)
    inputs, outputs = _cut(x, tiles, rows.b, columns.b), _cut(y, tiles, rows.a, columns.a)
    products = _products(inputs, outputs, (0, 0), precision)
    grid = [_combined(_turned(columns.g), line) for line in products]  # [p + 1][q]
    grid = [_combined(_turned(rows.g), line) for line in zip(*grid, strict=True)]  # [q][p]
    return jnp.stack([jnp.stack(line) for line in zip(*grid, strict=True)])


def _filters(taps: Sequence[int]) -> tuple[_Filter, _Filter]:
    return _FILTERS[taps[0]], _FILTERS[taps[1]]


def _tiles(size: Sequence[int]) -> _Pair:
    return -(-size[0] // TILE), -(-size[1] // TILE)


def _whole(y: jax.Array) -> tuple[jax.Array, _Pair]:
    """Pads [B, h, w, S] to whole tiles; returns how many there are, too."""
    h, w = _tiles(y.shape[1:3])
    extra = ((0, 0), (0, h * TILE - y.shape[1]), (0, w * TILE - y.shape[2]), (0, 0))
    return (jnp.pad(y, extra) if any(map(any, extra)) else y), (h, w)


_Grid = list[list[jax.Array]]


def _cut(x: jax.Array, tiles: _Pair, rows: _Matrix, columns: _Matrix) -> _Grid:
    """Combines the pixels of every tile: [B, H, W, D] to matrices [B h w, D], one for each pair."""
    (h, w), d = tiles, x.shape[3]

    def every(x: jax.Array, axis: int, start: int, count: int) -> jax.Array:
        stop = start + (count - 1) * TILE + 1
        return lax.slice_in_dim(x, start, stop, TILE, axis)

    lines = _combined(rows, [every(x, 1, i, h) for i in range(len(rows[0]))])
    return [
        [
            part.reshape(-1, d)
            for part in _combined(columns, [every(line, 2, j, w) for j in range(len(columns[0]))])
        ]
        for line in lines
    ]


def _joined(
    products: _Grid, shape: tuple[int, int, int], rows: _Matrix, columns: _Matrix
) -> jax.Array:
    """Lays out and adds what tiles give: the transpose of `_cut` with the same matrices."""
    parts = [[product.reshape(*shape, -1) for product in line] for line in products]
    lines = [_laid(_combined(_turned(columns), line), 2) for line in parts]
    return _laid(_combined(_turned(rows), lines), 1)


def _laid(parts: list[jax.Array], axis: int) -> jax.Array:
    """Interleaves along an axis: pixel i of a tile beside pixel i + TILE of the tile before it."""
    count, beyond = parts[0].shape[axis], len(parts) - TILE

    def padded(part: jax.Array, before: int, after: int) -> jax.Array:
        widths = [(0, 0)] * part.ndim
        widths[axis] = (before, after)
        return jnp.pad(part, widths)

    if beyond:
        own, before = parts[:TILE], parts[TILE:]
        parts = [padded(part, 0, 1) for part in own]
        parts[:beyond] = [
            part + padded(other, 1, 0) for part, other in zip(parts, before, strict=False)
        ]
    shape = list(parts[0].shape)
    shape[axis] *= TILE
    joined = jnp.stack(parts, axis + 1).reshape(shape)
    return lax.slice_in_dim(joined, 0, count * TILE + beyond, axis=axis)


def _transformed(kernel: jax.Array, rows: _Matrix, columns: _Matrix) -> _Grid:
    """G g G^T of a kernel [p, q, D, S]: matrices [D, S]."""
    return [_combined(columns, list(line)) for line in _combined(rows, list(kernel))]


def _products(x: _Grid, y: _Grid, axes: _Pair, precision: lax.PrecisionLike) -> _Grid:
    numbers = (((axes[0],), (axes[1],)), ((), ()))
    return [
        [lax.dot_general(a, b, numbers, precision=precision) for a, b in zip(*line, strict=True)]
        for line in zip(x, y, strict=True)
    ]


def _combined(matrix: _Matrix, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """Multiplies a matrix of few and simple numbers with a vector of arrays."""
    sums = []
    for row in matrix:
        terms = [(c, part) for c, part in zip(row, parts, strict=True) if c]
        terms.sort(key=lambda term: term[0] < 0)  # a positive one first, if there is one
        (first, total), *rest = terms
        total = total if first == 1 else first * total
        for c, part in rest:
            scaled = part if abs(c) == 1 else abs(c) * part
            total = total + scaled if c > 0 else total - scaled
        sums.append(total)
    return sums


def _turned(matrix: _Matrix) -> _Matrix:
    return tuple(zip(*matrix, strict=True))
