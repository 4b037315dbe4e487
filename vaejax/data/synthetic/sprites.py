"""The dSprites images, rendered from their five factors; nothing to download.

The 737,280 images are all combinations of shape, scale, orientation, x and y. Each is a filled
polygon with corners rounded to 1/256 of a pixel; a pixel is 1 if its centre lies inside. After the
rounding all arithmetic is in integers.
"""

import functools

import numpy as np

__all__ = [
    "NAMES",
    "SHAPES",
    "SIZES",
    "WIDTH",
    "factors_of",
    "index_of",
    "render",
    "render_packed",
    "strided_indices",
    "values_of",
]

SIZES = (3, 6, 40, 32, 32)
NAMES = ("shape", "scale", "orientation", "x", "y")
SHAPES = ("square", "ellipse", "heart")
WIDTH = 64
_ROW_BYTES = WIDTH * WIDTH // 8

_UNIT = 256  # corners are placed in units of 1/256 pixel
_HALF = _UNIT // 2
_RADIUS = 9.6  # half the side, in pixels, of the square at scale 1


def index_of(factors: np.ndarray) -> np.ndarray:
    """Indices int64 `[...]`, in the published order, of factor classes `[..., 5]`.

    Raises:
      ValueError: a class is out of range.
    """
    return np.ravel_multi_index(tuple(np.moveaxis(_validated(factors), -1, 0)), SIZES)


def factors_of(index: np.ndarray) -> np.ndarray:
    """Factor classes int32 `[..., 5]` of indices `[...]` in the published order.

    Raises:
      ValueError: an index is out of range.
    """
    return np.stack(np.unravel_index(np.asarray(index), SIZES), axis=-1).astype(np.int32)


def values_of(factors: np.ndarray) -> np.ndarray:
    """The published factor values, float64 `[..., 5]`, of factor classes `[..., 5]`.

    Shape is 1 to 3, scale 0.5 to 1, orientation 0 to 2π (both ends included), x and y 0 to 1.

    Raises:
      ValueError: a class is out of range.
    """
    ends = ((1, 3), (0.5, 1), (0, 2 * np.pi), (0, 1), (0, 1))
    classes = np.moveaxis(_validated(factors), -1, 0)
    columns = [
        np.linspace(low, high, size)[column]
        for (low, high), size, column in zip(ends, SIZES, classes, strict=True)
    ]
    return np.stack(columns, axis=-1)


def render(factors: np.ndarray) -> np.ndarray:
    """Images uint8 `[N, 64, 64]` of zeros and ones, of factor classes `[N, 5]`.

    Raises:
      ValueError: a class is out of range, or the shape is another.
    """
    packed = render_packed(index_of(factors))
    return np.unpackbits(packed, axis=-1).reshape(-1, WIDTH, WIDTH)


def render_packed(index: np.ndarray) -> np.ndarray:
    """Images of indices `[N]` as bits, uint8 `[N, 512]`; bit 7 of a byte is its first pixel.

    Images of equal shape, scale and orientation are rendered together: 2 ms for all 1,024.

    Raises:
      ValueError: an index is out of range, or the shape is another.
    """
    factors = factors_of(index)
    if factors.ndim != 2:
        raise ValueError(f"expected one axis of examples, found shape {factors.shape[:-1]}")
    pose = np.asarray(index) // (SIZES[3] * SIZES[4])
    order = np.argsort(pose, kind="stable")
    _, starts = np.unique(pose[order], return_index=True)
    packed = np.empty((len(factors), _ROW_BYTES), np.uint8)
    for rows in np.split(order, starts)[1:]:
        x, x_place = np.unique(factors[rows, 3], return_inverse=True)
        y, y_place = np.unique(factors[rows, 4], return_inverse=True)
        shape, scale, orientation = factors[rows[0], :3].tolist()
        packed[rows] = _render_pose(shape, scale, orientation, x, y)[x_place, y_place]
    return packed


def strided_indices(strides: tuple[int, ...]) -> np.ndarray:
    """Indices int32 `[N]`, ascending, of images with every `strides[k]`-th class of factor k."""
    kept = (np.arange(0, size, stride) for size, stride in zip(SIZES, strides, strict=True))
    return np.ravel_multi_index(np.ix_(*kept), SIZES).ravel().astype(np.int32)


@functools.cache
def _corners(shape: int) -> np.ndarray:
    """Corners `[n, 2]` of the outline at scale 1, in pixels from the centre, y downwards."""
    if shape == 0:
        return _RADIUS * np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    t = np.linspace(0, 2 * np.pi, (100, 150)[shape - 1], endpoint=False)
    if shape == 1:
        return _RADIUS * np.stack([1.33 * np.cos(t), np.sin(t) / 1.33], axis=-1)
    height = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return _RADIUS * np.stack([np.sin(t) ** 3, -height / 14.5 - 0.15], axis=-1)


def _render_pose(
    shape: int, scale: int, orientation: int, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Packed images uint8 `[len(x), len(y), 512]` of one pose at these positions."""
    angle = 2 * np.pi * orientation / (SIZES[2] - 1)
    cos, sin = np.cos(angle), np.sin(angle)
    across, down = ((0.5 + 0.1 * scale) * _corners(shape)).T
    offsets = cos * across + sin * down, cos * down - sin * across
    # Corners [places, n]; sprites move over the middle half of the canvas.
    corner_x, corner_y = (
        np.rint(_UNIT * (16 + 32 * place[:, None] / 31 + offset)).astype(np.int64)
        for place, offset in zip((x, y), offsets, strict=True)
    )
    next_x, next_y = np.roll(corner_x, -1, axis=1), np.roll(corner_y, -1, axis=1)
    # All edges that cross a line of pixel centres, in order of y place and line.
    lines = _UNIT * np.arange(WIDTH)[:, None] + _HALF
    above, next_above = corner_y[:, None] >= lines, next_y[:, None] >= lines
    place, line, edge = np.nonzero(above != next_above)
    # Pixels left of the crossing: those j with 256 j + 128 < x0 + (x1 - x0) (line - y0) / rise.
    rise = (next_y - corner_y)[place, edge]
    run = (next_x - corner_x)[:, edge] * np.sign(rise)
    reach = lines[line, 0] - corner_y[place, edge]
    numerator = (corner_x[:, edge] - _HALF) * np.abs(rise) + run * reach
    crossing = np.clip(-(-numerator // (_UNIT * np.abs(rise))), 0, WIDTH)
    # A pixel is inside if an odd number of crossings lie to its right (even-odd rule).
    key = place * WIDTH + line
    first = np.flatnonzero(np.diff(key, prepend=-1))
    words = np.zeros((len(x), len(y) * WIDTH), np.uint64)
    words[:, key[first]] = np.bitwise_xor.reduceat(_first_pixels()[crossing], first, axis=1)
    return words.view(np.uint8).reshape(len(x), len(y), _ROW_BYTES)


@functools.cache
def _first_pixels() -> np.ndarray:
    """Uint64 `[65]`: at t, a line of 64 packed pixels of which the first t are 1."""
    pixels = np.arange(WIDTH) < np.arange(WIDTH + 1)[:, None]
    return np.packbits(pixels, axis=-1).view(np.uint64)[:, 0]


def _validated(factors: np.ndarray) -> np.ndarray:
    """`factors` as an array `[..., 5]`; raises ValueError for another shape or range."""
    factors = np.asarray(factors)
    if factors.ndim == 0 or factors.shape[-1] != len(SIZES):
        raise ValueError(f"expected factor classes [..., {len(SIZES)}], found {factors.shape}")
    if factors.size and ((factors < 0) | (factors >= SIZES)).any():
        raise ValueError(f"factor classes must lie in 0..size-1 of the sizes {SIZES}")
    return factors
