"""Images converted to a size and a number of channels."""

import numpy as np

__all__ = ["fit", "fitted_shape"]

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
    """Images `[..., H, W, C]` converted to squares with `channels` channels.

    They are uint8, uint16 or float32. The shorter side is resized with antialiasing and the centre
    is cropped. One channel becomes three by repetition, three become one by luma.

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
