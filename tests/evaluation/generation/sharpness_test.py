"""Sharpness of images with known gradients."""

import numpy as np
import pytest

from vaejax.evaluation.generation.sharpness import gradient_magnitude, sharpness


def ramp(slope_y, slope_x, n=3, size=6, channels=2):
    y, x = np.mgrid[:size, :size]
    return np.broadcast_to((slope_y * y + slope_x * x)[None, ..., None], (n, size, size, channels))


def test_gradient_magnitude_of_a_ramp_is_its_slope():
    assert gradient_magnitude(ramp(0.3, 0.4)) == pytest.approx(0.5)
    assert sharpness(ramp(0.3, 0.4), ramp(0.0, 0.25)) == pytest.approx(2.0)


def test_checkerboard_and_step():
    y, x = np.mgrid[:8, :8]
    board = ((y + x) % 2).astype(np.float32)[None, ..., None]
    step = (x >= 4).astype(np.float32)[None, ..., None]  # one of 7 differences in each row
    assert gradient_magnitude(board) == pytest.approx(np.sqrt(2))
    assert gradient_magnitude(step) == pytest.approx(1 / 7)
    assert sharpness(step, board) == pytest.approx(1 / 7 / np.sqrt(2))


def test_against_a_loop_over_pixels():
    x = np.random.RandomState(0).rand(2, 4, 5, 3)
    total = [
        np.sqrt((x[n, i, j + 1, c] - x[n, i, j, c]) ** 2 + (x[n, i + 1, j, c] - x[n, i, j, c]) ** 2)
        for n in range(2) for i in range(3) for j in range(4) for c in range(3)
    ]  # fmt: skip
    assert gradient_magnitude(x) == pytest.approx(np.mean(total))


def test_blur_lowers_and_noise_raises_sharpness_and_offset_and_scale_keep_it():
    data = (np.random.RandomState(0).rand(4, 16, 16, 1) > 0.5).astype(np.float32)
    blurred = (data + np.roll(data, 1, 1) + np.roll(data, 1, 2) + np.roll(data, (1, 1), (1, 2))) / 4
    assert sharpness(data, data) == 1.0
    assert sharpness(blurred, data) < 0.6
    assert sharpness(data + 0.3 * np.random.RandomState(1).randn(*data.shape), data) > 1.05
    want = sharpness(blurred, data)
    assert sharpness(blurred + 5.0, data - 3.0) == pytest.approx(want, rel=1e-5)
    assert sharpness(7 * blurred, 7 * data) == pytest.approx(want, rel=1e-5)


def test_invalid_images_are_reported():
    with pytest.raises(ValueError, match="flat"):
        sharpness(ramp(1, 1), np.ones((2, 4, 4, 1)))
    for shape in ((4, 4, 1), (2, 1, 4, 1), (0, 4, 4, 1)):
        with pytest.raises(ValueError, match=r"expected images \[N, H, W, C\]"):
            gradient_magnitude(np.zeros(shape))
