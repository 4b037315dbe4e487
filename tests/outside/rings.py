"""Images of one ring each, made on the spot: `data.source='rings:SIZE'`."""

import numpy as np

import vaejax
from vaejax.data import LoadOptions

NAMES = ("radius", "thickness", "x", "y")
CLASSES = ("small", "medium", "large")  # of the radius, which is the label


@vaejax.register("data", "rings")
def rings(size: str, options: LoadOptions) -> vaejax.Source:
    """Grey `[SIZE, SIZE, 1]`, all combinations of 3 radii, 2 thicknesses and 8 × 8 centres.

    Args:
      size: pixels, a number of at least 8.
      options: `holdout` of the 384 images are held out.

    Raises:
      ValueError: the size is not such a number.
    """
    if not size.isdigit() or int(size) < 8:
        raise ValueError(f"rings:SIZE needs a number of pixels, at least 8, found {size!r}")
    side = int(size)
    radii, thicknesses = side * np.array([0.15, 0.22, 0.3]), side * np.array([0.08, 0.16])
    centres = side * np.linspace(0.35, 0.65, 8) - 0.5
    levels = (len(radii), len(thicknesses), len(centres), len(centres))
    factors = np.stack(np.unravel_index(np.arange(np.prod(levels)), levels), axis=1)
    radius, thickness, x, y = (
        values[column][:, None, None]
        for values, column in zip((radii, thicknesses, centres, centres), factors.T, strict=True)
    )
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(columns - x, rows - y)
    ring = np.clip(0.5 + thickness / 2 - np.abs(distance - radius), 0, 1)  # antialiased edges
    return vaejax.from_arrays(
        {
            "image": (255 * ring).round().astype(np.uint8),
            "label": factors[:, 0],
            "factors": factors,
            "class_names": CLASSES,
            "factor_names": NAMES,
        },
        options.split,
        name=options.source,
        image_size=options.image_size,
        channels=options.channels,
        holdout=options.holdout,
        max_resident_bytes=options.max_resident_bytes,
    )
