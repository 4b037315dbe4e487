"""Reading image files; converting images to a size and a number of channels."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["SUFFIXES", "fit", "fitted_shape", "inspect_image", "read_image"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's mode L


def fitted_shape(
    shape: tuple[int, ...], image_size: int | None, channels: int | None
) -> tuple[int, ...]:
    """The shape that `fit` returns for images of shape `[..., H, W, C]`."""
    *lead, height, width, depth = shape
    if image_size is not None:
        height = width = image_size
    return (*lead, height, width, channels or depth)


def fit(images: np.ndarray, image_size: int | None, channels: int | None) -> np.ndarray:
    """Images `[..., H, W, C]`, uint8, uint16 or float32, converted to squares with `channels` channels.

    The shorter side is resized with antialiasing and the centre is cropped. One channel becomes
    three by repetition, three become one by luma.

    Raises:
      ValueError: a number of channels that cannot be converted.
    """
    shape = fitted_shape(images.shape, image_size, channels)
    if images.shape == shape:
        return images
    if channels is not None and images.shape[-1] != channels:
        if {images.shape[-1], channels} != {1, 3}:
            raise ValueError(f"cannot turn {images.shape[-1]} channels into {channels}")
        if channels == 3:
            images = np.repeat(images, 3, axis=-1)
        else:
            luma = images @ _LUMA[:, None]
            images = np.rint(luma).astype(images.dtype) if images.dtype.kind == "u" else luma
    if images.shape == shape:
        return images
    frames = images.reshape(-1, *images.shape[-3:])
    out = np.empty((len(frames), *shape[-3:]), images.dtype)
    for source, target in zip(frames, out, strict=True):
        for channel in range(shape[-1]):
            target[..., channel] = _square(source[..., channel], shape[-2])
    return out.reshape(shape)


def _square(plane: np.ndarray, size: int) -> np.ndarray:
    """The centre `[size, size]` of one channel `[H, W]`, its shorter side resized to `size`."""
    from PIL import Image

    if plane.dtype == np.uint16:  # which Pillow resizes only by way of floats
        return np.rint(_square(plane.astype(np.float32), size)).astype(np.uint16)
    height, width = plane.shape
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    # The box crops at fractions of a pixel. Bilinear resizing is antialiased when it shrinks, and
    # unlike sharper filters it cannot overshoot.
    return np.asarray(
        Image.fromarray(np.ascontiguousarray(plane)).resize(
            (size, size),
            Image.Resampling.BILINEAR,
            box=(left, top, left + side, top + side),
        )
    )


def read_image(path: Path, channels: int) -> np.ndarray:
    """The image of a file, uint8 `[H, W, channels]`, rotated according to its EXIF data.

    Raises:
      ValueError: the file cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel, which `convert` would clip
                wide = np.asarray(upright).astype(np.int64)
                upright = Image.fromarray((wide >> 8).astype(np.uint8))
            pixels = np.asarray(upright.convert("L" if channels == 1 else "RGB"))
    except Exception as error:  # decoders raise many types of errors on damaged files
        raise ValueError(f"cannot read the image {path}: {error}") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def inspect_image(path: Path) -> tuple[tuple[int, int], bool]:
    """(height, width) of an image file, and whether it is grey, from its header.

    Raises:
      ValueError: the file cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            height, width = image.height, image.width
            if _is_rotated(image):
                height, width = width, height
            return (height, width), image.mode in ("1", "L", "LA") or image.mode.startswith("I")
    except Exception as error:
        raise ValueError(f"cannot read the image {path}: {error}") from error


def _is_rotated(image: "PIL.Image.Image") -> bool:
    """Whether the EXIF orientation swaps height and width."""
    return image.getexif().get(0x0112) in (5, 6, 7, 8)
