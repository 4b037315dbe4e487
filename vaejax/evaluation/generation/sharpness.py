"""How sharp images are, next to data."""

import numpy as np
from numpy.typing import ArrayLike


def gradient_magnitude(images: ArrayLike) -> float:
    """Mean over places, channels and images `[N, H, W, C]` of √(Δ_x² + Δ_y²), per pixel.

    Δ are differences between a pixel and its right and its lower neighbour; the last row and
    column, which lack one, are left out.

    Raises:
      ValueError: these are no images of at least 2 × 2 pixels.
    """
    x = np.asarray(images, np.float64)
    if x.ndim != 4 or min(x.shape[1:3]) < 2 or not x.size:
        raise ValueError(f"expected images [N, H, W, C] of at least 2×2 pixels, found {x.shape}")
    right = x[:, :-1, 1:] - x[:, :-1, :-1]
    down = x[:, 1:, :-1] - x[:, :-1, :-1]
    return float(np.hypot(right, down).mean())


def sharpness(images: ArrayLike, data: ArrayLike) -> float:
    """Mean gradient magnitude of images over that of data, `[N, H, W, C]` each.

    1 where they are as sharp as the data, less where they are blurred, more where they are noisy:
    it does not tell edges from noise, so look at the images too. It does not depend on their
    brightness' offset or on a common scale.

    Raises:
      ValueError: these are no images, or the data is flat.
    """
    reference = gradient_magnitude(data)
    if reference == 0:
        raise ValueError("the data is flat everywhere: nothing to compare sharpness with")
    return gradient_magnitude(images) / reference
