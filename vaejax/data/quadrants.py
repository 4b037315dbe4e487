"""Inpainting of image quadrants: the structured prediction task of Sohn et al. 2015 (section 5.1).

Some quadrants of an image are observed, the model predicts the others.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from vaejax.data.source import Batch, Source

__all__ = ["quadrant_mask", "with_quadrants"]

# `observed` quadrants are the first of these.
_ORDER = ("bottom left", "top left", "top right")


def quadrant_mask(height: int, width: int, observed: int) -> np.ndarray:
    """The field `hidden` `[H, W, 1]`: 1.0 for pixels to predict, 0.0 for observed pixels.

    The observed quadrants are the first of bottom left, top left and top right. An odd row or
    column belongs to the bottom or the right.

    Args:
      height: H, pixels.
      width: W, pixels.
      observed: number of observed quadrants: 1, 2 or 3.

    Raises:
      ValueError: another number.
    """
    if observed not in (1, 2, 3):
        raise ValueError(f"data.observed_quadrants must be 0, 1, 2 or 3, found {observed}")
    mask = np.ones((height, width, 1), np.float32)
    for place in _ORDER[:observed]:
        vertical, horizontal = place.split()
        rows = slice(height // 2) if vertical == "top" else slice(height // 2, None)
        columns = slice(width // 2) if horizontal == "left" else slice(width // 2, None)
        mask[rows, columns] = 0.0
    return mask


def with_quadrants(source: Source, observed: int) -> Source:
    """The source with `hidden` float32 `[B, H, W, 1]` in its batches.

    `preparation` computes the `condition` from it: the image with −1 at the hidden pixels.

    Args:
      source: of images.
      observed: number of observed quadrants; 0 returns the source unchanged.

    Raises:
      ValueError: not 0 to 3, or the source has no images.
    """
    if observed == 0:
        return source

    def decode(rows: Batch) -> Batch:
        batch = source.decode(rows)
        if "image" not in batch:
            raise ValueError(
                f"data.observed_quadrants needs images, {source.name!r} has {sorted(batch)}"
            )
        n, height, width, _ = batch["image"].shape
        mask = jnp.asarray(quadrant_mask(height, width, observed))
        return {**batch, "hidden": jnp.broadcast_to(mask[None], (n, height, width, 1))}

    quadrant_mask(2, 2, observed)  # raises here rather than inside a compiled step
    return dataclasses.replace(source, decode=decode)
