"""The sprites as a `Source`: stored as bits, unpacked on the accelerator."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.data.source import DEFAULT_RESIDENT_BYTES, Batch, Source, hold_out, in_memory
from vaejax.data.synthetic import sprites

# The strides over each factor's classes; '' is the whole set of 737,280 images.
VARIANTS = {"": (1, 1, 1, 1, 1), "small": (1, 1, 4, 2, 2)}
SIDES = (16, 32, 64)  # pixels


def load_sprites(
    variant: str,
    split: str = "train",
    *,
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
) -> Source:
    """The sprites, `[64, 64, 1]` or smaller, with all five factors; `label` is the shape.

    Rendering takes 2 ms for each shape, scale and orientation, so nothing is kept on disk.

    Args:
      variant: `''` for all 737,280 images, `'small'` for 46,080: every fourth orientation and
        every second x and y, with classes renumbered from 0.
      split: `'train'` or `'eval'`.
      image_size: 16, 32 or 64 (None); below 64 a pixel is the mean of a square of them.
      channels: 1 or None.
      holdout: fraction of the images held out for `'eval'`.
      max_resident_bytes: a split larger than this gets `arrays=None`.

    Raises:
      ValueError: for another variant, image size or number of channels.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown data source 'sprites:{variant}': expected 'sprites:small'")
    if image_size not in (None, *SIDES) or channels not in (None, 1):
        raise ValueError(
            f"sprites are 16, 32 or 64 pixels wide, with one channel: image_size={image_size}, "
            f"channels={channels} cannot be had"
        )
    strides = VARIANTS[variant]
    index = sprites.every(strides)
    index = index[hold_out(len(index), split, holdout)]
    return in_memory(
        {"packed": sprites.render_packed(index), "index": index},
        np.arange(len(index)),
        max_resident_bytes=max_resident_bytes,
        name=f"sprites:{variant}" if variant else "sprites",
        split=split,
        decode=functools.partial(_decode, strides=strides, side=image_size or sprites.WIDTH),
        factor_sizes=tuple(-(-n // s) for n, s in zip(sprites.SIZES, strides, strict=True)),
        factor_names=sprites.NAMES,
        num_classes=sprites.SIZES[0],
        class_names=sprites.SHAPES,
    )


def unpacked(packed: jax.Array, side: int) -> jax.Array:
    """Images float32 `[B, side, side, 1]` of bits uint8 `[B, 512]`: means over squares."""
    every = sprites.WIDTH // side
    pixels = jnp.unpackbits(packed, axis=-1).astype(jnp.float32)
    return pixels.reshape(-1, side, every, side, every).mean(axis=(2, 4))[..., None]


def _decode(rows: Batch, *, strides: tuple[int, ...], side: int) -> Batch:
    """Unpacks pixels and takes the factors apart from `index` int32 `[B]`."""
    columns: list[jax.Array] = []
    rest = rows["index"]
    for size, stride in zip(reversed(sprites.SIZES), reversed(strides), strict=True):
        columns.insert(0, rest % size // stride)
        rest = rest // size
    image = unpacked(rows["packed"], side)
    return {"image": image, "label": columns[0], "factors": jnp.stack(columns, axis=-1)}
