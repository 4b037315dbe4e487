"""Functions of pictures, computed on overlapping tiles, for pictures larger than memory."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

__all__ = ["tiled"]


def _starts(size: int, tile: int, step: int) -> list[int]:
    """Where tiles begin along a side: every `step`, and the last at the end of the side."""
    return sorted({*range(0, size - tile, step), max(size - tile, 0)})


def _ramp(size: int, overlap: int, inner: tuple[bool, bool]) -> np.ndarray:
    """The weight of a tile along a side, `[size]`.

    At a border that another tile covers too, it is 0 over a quarter of the overlap, where results
    depend on the padding, and rises to 1 over the next half.
    """
    distance = np.arange(size) + 0.5
    weight = np.ones(size)
    for is_inner, d in zip(inner, (distance, distance[::-1]), strict=True):
        if is_inner and overlap:
            weight = weight * np.clip((d - overlap / 4) / (overlap / 2), 0.0, 1.0)
    return weight


def tiled(
    function: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    tile: int,
    overlap: int,
    scale: Fraction,
) -> np.ndarray:
    """`function(x)`, computed on tiles whose results are blended where they overlap.

    Away from the borders of tiles, by at least a quarter of the overlap, the result is that of a
    tile, which is the result of the whole for a function whose receptive field is no larger.

    Args:
      function: pictures `[N, h, w, C]` -> `[N, scale · h, scale · w, D]`.
      x: pictures.
      tile: side of a tile; `scale · tile` is a whole number.
      overlap: of neighbouring tiles, less than `tile`; `scale · overlap` is a whole number.
      scale: of the results.
    """
    sides = x.shape[1:3]
    sizes = [min(tile, side) for side in sides]
    rows, columns = (
        _starts(side, size, tile - overlap) for side, size in zip(sides, sizes, strict=True)
    )
    total, weights = None, np.zeros((int(sides[0] * scale), int(sides[1] * scale)))
    for i in rows:
        for j in columns:
            part = function(x[:, i : i + sizes[0], j : j + sizes[1]])
            if total is None:
                total = np.zeros((len(x), *weights.shape, part.shape[-1]), np.float32)
            weight = np.multiply.outer(
                *(
                    _ramp(
                        int(size * scale),
                        int(overlap * scale),
                        (start > 0, start + size < side),
                    )
                    for start, size, side in zip((i, j), sizes, sides, strict=True)
                )
            )
            where = tuple(
                slice(int(start * scale), int((start + size) * scale))
                for start, size in zip((i, j), sizes, strict=True)
            )
            total[:, *where] += (weight[None, :, :, None] * part).astype(np.float32)
            weights[where] += weight
    assert total is not None
    return (total / weights[None, :, :, None]).astype(np.float32)
