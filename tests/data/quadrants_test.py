"""Masks and conditions of inpainting against quadrants cut out by hand."""

import jax
import numpy as np
import pytest

from vaejax.data.preprocess import event_shape, preparation
from vaejax.data.quadrants import quadrant_mask, with_quadrants
from vaejax.data.readers.npz import from_arrays

TL, TR, BL, BR = (0, 0), (0, 1), (1, 0), (1, 1)


def quadrants(image):
    """The four quadrants of `[H, W, ...]`."""
    h, w = image.shape[0] // 2, image.shape[1] // 2
    return {TL: image[:h, :w], TR: image[:h, w:], BL: image[h:, :w], BR: image[h:, w:]}


@pytest.mark.parametrize("shape", [(28, 28), (5, 7)])
@pytest.mark.parametrize(("observed", "places"), [(1, {BL}), (2, {BL, TL}), (3, {BL, TL, TR})])
def test_the_mask_is_zero_in_the_observed_quadrants(shape, observed, places):
    mask = quadrant_mask(*shape, observed)
    assert mask.shape == (*shape, 1)
    for place, part in quadrants(mask).items():
        np.testing.assert_array_equal(part, 0.0 if place in places else 1.0)
    if shape == (28, 28):
        assert mask.sum() == (4 - observed) * 196


@pytest.mark.parametrize("observed", [-1, 4])
def test_other_numbers_are_rejected(observed):
    source = from_arrays(np.zeros((2, 4, 4), np.uint8), holdout=0)
    with pytest.raises(ValueError, match=f"0, 1, 2 or 3, found {observed}"):
        with_quadrants(source, observed)


def test_vectors_are_rejected_and_zero_changes_nothing():
    source = from_arrays(np.zeros((2, 4), np.float32), holdout=0)
    assert with_quadrants(source, 0) is source
    with pytest.raises(ValueError, match="needs images, 'arrays' has"):
        event_shape(with_quadrants(source, 1))


@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_the_condition_has_the_observed_pixels_of_the_same_image(binarize):
    pixels = np.random.RandomState(0).randint(0, 256, (6, 8, 10), np.uint8)
    source = with_quadrants(from_arrays({"image": pixels}, holdout=0), 1)
    assert event_shape(source) == (8, 10, 1)
    rows = source.take(np.arange(6))
    batch = jax.jit(preparation(source, binarize))(rows, jax.random.key(0))
    batch = {k: np.asarray(v) for k, v in batch.items()}
    assert batch["hidden"].shape == (6, 8, 10, 1)
    if binarize == "none":
        np.testing.assert_allclose(batch["image"][..., 0], pixels / 255, rtol=1e-6)
    for i in range(6):
        image, condition = quadrants(batch["image"][i]), quadrants(batch["condition"][i])
        mask = quadrants(batch["hidden"][i])
        np.testing.assert_array_equal(condition[BL], image[BL])
        np.testing.assert_array_equal(mask[BL], 0.0)
        for place in (TL, TR, BR):
            np.testing.assert_array_equal(condition[place], -1.0)
            np.testing.assert_array_equal(mask[place], 1.0)
