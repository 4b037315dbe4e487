"""Sharpness of images relative to data."""

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["gradient_magnitude", "sharpness"]


def gradient_magnitude(images: ArrayLike) -> float:
    """Mean over pixels, channels and images `[N, H, W, C]` of √(Δ_x² + Δ_y²).

    Δ are differences between a pixel and its right and its lower neighbour; the last row and
    column, which lack one, are left out.

    Raises:
      ValueError: these are not images of at least 2 × 2 pixels.
    """
    x = np.asarray(images, np.float64)
    if x.ndim != 4 or min(x.shape[1:3]) < 2 or not x.size:
        raise ValueError(f"expected images [N, H, W, C] of at least 2×2 pixels, found {x.shape}")
    horizontal = x[:, :-1, 1:] - x[:, :-1, :-1]
    vertical = x[:, 1:, :-1] - x[:, :-1, :-1]
    return float(np.hypot(horizontal, vertical).mean())


def sharpness(images: ArrayLike, data: ArrayLike) -> float:
    """Mean gradient magnitude of images over that of data, `[N, H, W, C]` each.

    1 if they are as sharp as the data, less if blurred, more if noisy: it does not distinguish
    edges from noise, so look at the images too. It is invariant to brightness offsets and to a
    common scale.

    Raises:
      ValueError: these are not images, or the data is constant.
    """
    reference = gradient_magnitude(data)
    if reference == 0:
        raise ValueError("the data is flat everywhere: sharpness relative to it is undefined")
    return gradient_magnitude(images) / reference
