"""Arrays of images: their scale, size and channels."""

import numpy as np
import PIL.Image
import pytest

from tests.data.readers.rows import decoded, images
from vaejax import data


def test_bytes_become_fractions_of_255():
    pixels = images()
    source = data.from_arrays({"images": pixels, "labels": np.arange(20) % 4}, holdout=0)
    batch = decoded(source)
    np.testing.assert_allclose(batch["image"], pixels / np.float32(255), rtol=1e-6)
    assert batch["image"].dtype == np.float32
    assert batch["label"].dtype == np.int32
    assert source.num_classes == 4
    assert source.take is not None
    assert source.arrays["image"].dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.float64])
def test_zeros_and_ones_are_not_rescaled(dtype):
    pixels = (images(shape=(4, 4)) > 127).astype(dtype)
    batch = decoded(data.from_arrays(pixels, holdout=0))
    np.testing.assert_array_equal(batch["image"], pixels[..., None].astype(np.float32))


def test_the_scale_is_computed_from_both_splits():
    dark = np.ones((3, 4, 4), np.uint8)
    arrays = {"x_train": images(shape=(4, 4)), "x_test": dark}
    batch = decoded(data.from_arrays(arrays, "eval"))
    np.testing.assert_allclose(batch["image"], 1 / 255, rtol=1e-6)


def test_resized_zeros_and_ones_become_grey():
    board = np.indices((8, 8)).sum(0) % 2
    source = data.from_arrays(np.stack([board] * 3).astype(np.uint8), image_size=4, holdout=0)
    batch = decoded(source)
    assert batch["image"].shape == (3, 4, 4, 1)
    np.testing.assert_allclose(batch["image"], 0.5, atol=0.1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resizing_crops_the_centre(dtype):
    pixels = images(shape=(16, 32, 3))
    scaled = pixels if dtype == np.uint8 else (pixels / 255).astype(dtype)
    source = data.from_arrays(scaled, image_size=8, holdout=0)
    bilinear = PIL.Image.Resampling.BILINEAR
    expected = [
        PIL.Image.fromarray(p).resize((16, 8), bilinear).crop((4, 0, 12, 8)) for p in pixels
    ]
    np.testing.assert_allclose(decoded(source)["image"] * 255, np.stack(expected), atol=1.01)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_are_converted(dtype):
    pixels = images(shape=(4, 4, 3))
    scaled = pixels if dtype == np.uint8 else (pixels / 255).astype(dtype)
    grey = decoded(data.from_arrays(scaled, channels=1, holdout=0))["image"]
    expected = [np.asarray(PIL.Image.fromarray(p).convert("L")) for p in pixels]
    np.testing.assert_allclose(grey[..., 0] * 255, np.stack(expected), atol=1.01)
    colour = decoded(data.from_arrays(scaled[..., :1], channels=3, holdout=0))["image"]
    np.testing.assert_allclose(colour, np.repeat(pixels[..., :1], 3, -1) / 255, atol=1e-6)
    with pytest.raises(ValueError, match="cannot turn 2 channels into 3"):
        data.from_arrays(pixels[..., :2], channels=3, holdout=0)
