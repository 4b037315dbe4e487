"""The sprites as a `Source`: stored as bits, unpacked on the accelerator."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.data.load_options import LoadOptions
from vaejax.data.row_storage import allocate_rows, process_share
from vaejax.data.source import Batch, Source, hold_out, in_memory
from vaejax.data.synthetic import sprites

__all__ = ["SIDES", "VARIANTS", "load_sprites", "unpack"]

# The strides over each factor's classes; '' is the whole set of 737,280 images.
VARIANTS = {"": (1, 1, 1, 1, 1), "small": (1, 1, 4, 2, 2)}
SIDES = (16, 32, 64)  # pixels
_CHUNK = 2**15  # images


def load_sprites(variant: str, options: LoadOptions) -> Source:
    """The sprites, `[64, 64, 1]` or smaller, with all five factors; `label` is the shape.

    Rendering takes 2 ms for each shape, scale and orientation, so no files are cached.

    Args:
      variant: `''` for all 737,280 images, `'small'` for 46,080: every fourth orientation and
        every second x and y, with classes renumbered from 0.
      options: `image_size` is 16, 32 or 64 (None); below 64 a pixel is the mean of a square of
        pixels. `channels` is 1 or None.

    Raises:
      ValueError: another variant, image size or number of channels.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown data source 'sprites:{variant}': expected 'sprites:small'")
    if options.image_size not in (None, *SIDES) or options.channels not in (None, 1):
        raise ValueError(
            "sprites are 16, 32 or 64 pixels wide, with one channel: found "
            f"image_size={options.image_size}, channels={options.channels}"
        )
    strides = VARIANTS[variant]
    index = sprites.strided_indices(strides)
    index = index[hold_out(len(index), options.split, options.holdout)]
    return in_memory(
        {"packed": _rendered(index, options.max_resident_bytes), "index": index},
        np.arange(len(index)),
        max_resident_bytes=options.max_resident_bytes,
        name=options.source,
        split=options.split,
        decode=functools.partial(
            _decode, strides=strides, side=options.image_size or sprites.WIDTH
        ),
        factor_sizes=tuple(-(-n // s) for n, s in zip(sprites.SIZES, strides, strict=True)),
        factor_names=sprites.NAMES,
        num_classes=sprites.SIZES[0],
        class_names=sprites.SHAPES,
    )


def _rendered(index: np.ndarray, limit: int) -> np.ndarray:
    """Packed images uint8 `[N, 512]`; mapped if they are more than the share of a process."""
    shape, share = (len(index), sprites.WIDTH**2 // 8), process_share(limit)
    large = share < limit and math.prod(shape) > share
    packed = allocate_rows({"": (shape, np.uint8)}, on_disk=large)[""]
    for start in range(0, len(index), _CHUNK):
        packed[start : start + _CHUNK] = sprites.render_packed(index[start : start + _CHUNK])
    return packed


def unpack(packed: jax.Array, side: int) -> jax.Array:
    """Images float32 `[B, side, side, 1]` of bits uint8 `[B, 512]`: means over squares."""
    square = sprites.WIDTH // side
    pixels = jnp.unpackbits(packed, axis=-1).astype(jnp.float32)
    return pixels.reshape(-1, side, square, side, square).mean(axis=(2, 4))[..., None]


def _decode(rows: Batch, *, strides: tuple[int, ...], side: int) -> Batch:
    """Unpacks pixels, and computes the factors from `index` int32 `[B]`."""
    columns: list[jax.Array] = []
    rest = rows["index"]
    for size, stride in zip(reversed(sprites.SIZES), reversed(strides), strict=True):
        columns.insert(0, rest % size // stride)
        rest = rest // size
    image = unpack(rows["packed"], side)
    return {"image": image, "label": columns[0], "factors": jnp.stack(columns, axis=-1)}
