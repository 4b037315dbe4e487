"""Reading image files of 8 and 16 bits, with transparency, palettes and rotation."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaejax.core.types import Untyped
from vaejax.data.load_options import DEFAULT_MAX_BYTES

__all__ = [
    "SUFFIXES",
    "ImageFile",
    "ImageInfo",
    "StoredFile",
    "highest_value",
    "inspect_image",
    "read_image",
    "stored_pixels",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")

_DEEP = 2**16 - 1
_DEEP_GREY_ALPHA = "LA;16B"
_BITS_PER_SAMPLE = 258  # of TIFF
_JPEG = (".jpg", ".jpeg", ".JPG", ".JPEG")
_ORIENTATION = 0x0112  # of EXIF data
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's mode L
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


class ImageInfo(NamedTuple):
    """What the header of an image file says.

    Attributes:
      size: (height, width), after rotation.
      grey: whether it has one channel, or a palette of greys.
      deep: whether it has more than 8 bits per channel.
    """

    size: tuple[int, int]
    grey: bool
    deep: bool


class StoredFile(io.BytesIO):
    """The content of a file that is stored elsewhere, with a name for errors."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name

    def __str__(self) -> str:
        return self._name


ImageFile = Path | StoredFile


def inspect_image(path: ImageFile, max_bytes: int = DEFAULT_MAX_BYTES) -> ImageInfo:
    """The header of an image file.

    Args:
      path: of the file.
      max_bytes: of the decoded pixels, as the header states their number.

    Raises:
      ValueError: the file cannot be read, is too large, or has colours of 16 bits in a form of
        which the decoder would keep 8.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            height, width = image.height, image.width
            _check_form(image, max_bytes)
            grey, deep = _is_grey(image), _is_deep(image)  # before the EXIF data, which load it
            if image.getexif().get(_ORIENTATION) in (5, 6, 7, 8):  # rotated by a quarter
                height, width = width, height
            return ImageInfo((height, width), grey, deep)
    except Exception as error:  # decoders raise many types of errors on damaged files
        raise ValueError(f"cannot read the image {path}: {_one_line(error)}") from error


def _check_form(image: Untyped, max_bytes: int) -> None:
    size = image.width * image.height * len(image.getbands()) * (2 if _is_deep(image) else 1)
    if size > max_bytes:
        raise ValueError(
            f"its {image.width} × {image.height} pixels need {size / 2**20:.4g} MiB of memory, "
            f"more than data.max_bytes={max_bytes}; make it smaller, or raise that"
        )
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, ()) if image.format == "TIFF" else ()
    if not _is_deep(image) and max(np.atleast_1d(bits), default=8) > 8:
        raise ValueError(
            "of a TIFF file of 16 bits in colour only 8 are read; save it as a PNG file of 16 bits "
            "or in grey"
        )


def read_image(
    path: ImageFile, channels: int, *, scale: int = 255, background: float = 1.0
) -> np.ndarray:
    """The image of a file, rotated according to its EXIF data, with alpha composited.

    Args:
      path: of the file.
      channels: 1 or 3.
      scale: the largest value of the result, which is uint8 `[H, W, channels]` if this is 255, else
        uint16. Files of more than 8 bits hold integers up to this, or floats in [0, 1].
      background: behind transparent pixels, in [0, 1].

    Raises:
      ValueError: the file cannot be read.
    """
    try:
        if scale == 255 and (plain := _plain_jpeg(path, channels)) is not None:
            return plain
        pixels, alpha, high = _decode(path)
        if scale == 255 and alpha is None and pixels.dtype == np.uint8:
            return _with_channels(pixels, channels)
        factor = scale if pixels.dtype.kind == "f" else 1 if high == _DEEP else scale / high
        values = _with_channels(pixels.astype(np.float64) * factor, channels)
        if alpha is not None:
            values = values * alpha + background * scale * (1.0 - alpha)
        dtype = np.uint8 if scale == 255 else np.uint16
        return np.rint(np.clip(values, 0, scale)).astype(dtype)
    except Exception as error:
        raise ValueError(f"cannot read the image {path}: {_one_line(error)}") from error


def _plain_jpeg(path: ImageFile, channels: int) -> np.ndarray | None:
    """The pixels of a JPEG file that needs no conversion, which most do not; else None.

    The general way takes half as long again for images of 32 × 32 pixels.
    """
    from PIL import Image

    if isinstance(path, Path) and not path.name.endswith(_JPEG):
        return None
    with Image.open(path) as image:
        plain = image.format == "JPEG" and image.mode == ("L" if channels == 1 else "RGB")
        # Reading EXIF data that are not there takes a tenth of the time of a small image.
        if not plain or ("exif" in image.info and image.getexif().get(_ORIENTATION, 1) != 1):
            return None
        pixels = np.asarray(image)
    return pixels[..., None] if channels == 1 else pixels


def highest_value(path: ImageFile) -> int:
    """The largest value of a file of more than 8 bits; the full range of floats in [0, 1].

    Raises:
      ValueError: the file cannot be read, or its values fit neither 16 bits nor [0, 1].
    """
    try:
        pixels = _decode(path)[0]
    except Exception as error:
        raise ValueError(f"cannot read the image {path}: {_one_line(error)}") from error
    return _DEEP if pixels.dtype.kind == "f" else int(pixels.max())


def stored_pixels(file: ImageFile) -> np.ndarray:
    """Pixels `[H, W, 1, 3 or 4]` as stored: uint8, uint16, or floats in [0, 1]; alpha is last.

    Raises:
      ValueError: the file cannot be read.
    """
    try:
        pixels, alpha, high = _decode(file)
    except Exception as error:
        raise ValueError(f"cannot read the image {file}: {_one_line(error)}") from error
    if alpha is None:
        return pixels
    return np.concatenate([pixels, np.rint(alpha * high).astype(pixels.dtype)], axis=-1)


def _decode(path: ImageFile) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Pixels `[H, W, 1 or 3]`, alpha in [0, 1] `[H, W, 1]` or None, and the pixels' full range.

    Pixels are uint8 of the range 255, uint16 of the range 65,535, or floats of the range 1.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        if (args := _deep_colour(image)) == _DEEP_GREY_ALPHA:
            # Four bytes of a pixel, read as if they were those of four channels.
            parts = _reopened(path, "RGBA")
            grey, alpha = (parts[..., i : i + 1] << 8 | parts[..., i + 1 : i + 2] for i in (0, 2))
            return grey, alpha / _DEEP, _DEEP
        if args:
            high, low = (_reopened(path, args[:-1] + order) for order in "BL")
            pixels = (high << 8) | low
            alpha = pixels[..., 3:] / _DEEP if pixels.shape[-1] == 4 else None
            return pixels[..., :3], alpha, _DEEP
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "F" or upright.mode.startswith("I"):
            return _numbers(np.asarray(upright)), None, _DEEP
        if upright.mode in _ALPHA or "transparency" in upright.info:
            rgba = np.asarray(upright.convert("RGBA"))
            colours = rgba[..., :1] if _is_grey(image) else rgba[..., :3]
            return colours, rgba[..., 3:] / 255, 255
        pixels = np.asarray(upright.convert("L" if _is_grey(image) else "RGB"))
        return pixels.reshape(*pixels.shape[:2], -1), None, 255


def _numbers(values: np.ndarray) -> np.ndarray:
    """Values of a mode that is not of 8 bits, `[H, W, 1]`.

    Raises:
      ValueError: integers that do not fit 16 bits, or floats outside of [0, 1].
    """
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if not (low >= 0 and high <= 1):
            raise ValueError(f"its floats must lie in [0, 1], found [{low:g}, {high:g}]")
        return values[..., None]
    if low < 0 or high > _DEEP:
        raise ValueError(f"its integers must lie in 0 to 65,535, found {low} to {high}")
    return values.astype(np.uint16)[..., None]


def _deep_colour(image: Untyped) -> str:
    """Pillow's name of the raw form of a PNG file of 16 bits in colour or with alpha, else `''`."""
    args = image.tile[0].args if image.format == "PNG" and image.tile else ""
    return args if args in ("RGB;16B", "RGBA;16B", _DEEP_GREY_ALPHA) else ""


def _reopened(path: ImageFile, args: str) -> np.ndarray:
    """The high or the low bytes of a file of 16 bits, of which Pillow decodes one."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        image.tile = [image.tile[0]._replace(args=args)]
        return np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)


def _is_deep(image: Untyped) -> bool:
    return image.mode == "F" or image.mode.startswith("I") or bool(_deep_colour(image))


def _is_grey(image: Untyped) -> bool:
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    if _deep_colour(image) == _DEEP_GREY_ALPHA:
        return True
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Pixels `[H, W, 1 or 3]` with 1 or 3 channels."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    luma = pixels @ _LUMA[:, None]
    return np.rint(luma).astype(np.uint8) if pixels.dtype == np.uint8 else luma


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
