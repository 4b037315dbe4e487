"""Inpainting by quadrants: some of an image's quadrants are given, the others are to be explained.

The structured prediction task of Sohn et al. 2015 (section 5.1).
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from vaejax.data.source import Batch, Source

# In the order in which they are given; the top right one is never alone to be seen.
_ORDER = ("bottom left", "top left", "top right")


def quadrant_mask(height: int, width: int, observed: int) -> np.ndarray:
    """Which pixels are to be explained: 1.0 there, 0.0 where they are given, `[H, W, 1]`.

    Given are, one after the other, the quadrants at the bottom left, the top left and the top
    right. An odd row or column belongs to the bottom or the right.

    Args:
      height: H, pixels.
      width: W, pixels.
      observed: how many quadrants are given: 1, 2 or 3.

    Raises:
      ValueError: for another number.
    """
    if observed not in (1, 2, 3):
        raise ValueError(f"data.quadrants are the 1, 2 or 3 that are given, found {observed}")
    mask = np.ones((height, width, 1), np.float32)
    for place in _ORDER[:observed]:
        vertical, horizontal = place.split()
        rows = slice(height // 2) if vertical == "top" else slice(height // 2, None)
        columns = slice(width // 2) if horizontal == "left" else slice(width // 2, None)
        mask[rows, columns] = 0.0
    return mask


def with_quadrants(source: Source, observed: int) -> Source:
    """The source with `mask` float32 `[B, H, W, 1]` in its batches.

    `preparation` makes the `condition` of it: the image with the hidden pixels at −1.

    Args:
      source: of images.
      observed: how many quadrants are given; 0 gives the source back as it is.

    Raises:
      ValueError: not 0 to 3, or the source has no images.
    """
    if observed == 0:
        return source

    def decode(rows: Batch) -> Batch:
        batch = source.decode(rows)
        if "image" not in batch:
            raise ValueError(f"data.quadrants needs images, {source.name!r} has {sorted(batch)}")
        n, height, width, _ = batch["image"].shape
        mask = jnp.asarray(quadrant_mask(height, width, observed))
        return {**batch, "mask": jnp.broadcast_to(mask[None], (n, height, width, 1))}

    quadrant_mask(2, 2, observed)  # complains here rather than inside a compiled step
    return dataclasses.replace(source, decode=decode)
