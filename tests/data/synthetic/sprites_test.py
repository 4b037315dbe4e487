"""The rendered sprites against exact geometry, the published images, and their indices."""

import cmath
import math
import os
import pathlib

import jax
import numpy as np
import pytest

from vaejax import data
from vaejax.data.synthetic import sprites


def random_factors(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, count) for size in sprites.SIZES], axis=-1)


def outline(shape):
    """Corners as complex numbers, y downwards, of the shape of half-size one."""
    if shape == 0:
        return [-1 - 1j, 1 - 1j, 1 + 1j, -1 + 1j]
    if shape == 1:
        turns = [2 * math.pi * k / 100 for k in range(100)]
        return [complex(1.33 * math.cos(t), math.sin(t) / 1.33) for t in turns]
    corners = []
    for k in range(150):
        t = 2 * math.pi * k / 150
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        corners.append(complex(math.sin(t) ** 3, -y / 14.5 - 0.15))
    return corners


def brute_force(factors):
    """Point in polygon by ray casting, every pixel centre against every edge, in integers."""
    shape, scale, orientation, x, y = (int(f) for f in factors)
    centre = complex(16 + 32 * x / 31, 16 + 32 * y / 31)
    size = 9.6 * (0.5 + 0.1 * scale) * cmath.exp(-2j * math.pi * orientation / 39)
    corners = [centre + size * corner for corner in outline(shape)]
    points = [(round(256 * c.real), round(256 * c.imag)) for c in corners]
    px, py = np.meshgrid(256 * np.arange(64) + 128, 256 * np.arange(64) + 128)
    inside = np.zeros((64, 64), bool)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        straddles = (y0 <= py) != (y1 <= py)
        # The side of the edge that the centre is on, with the edge pointing downwards.
        side = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) * (1 if y1 > y0 else -1)
        inside ^= straddles & (side > 0)
    return inside.astype(np.uint8)


def test_images_equal_exact_point_in_polygon():
    factors = random_factors(45)
    factors[:, 0] = np.arange(45) % 3
    factors[:6, 2] = (0, 0, 0, 39, 39, 39)  # axis-aligned edges
    expected = np.stack([brute_force(f) for f in factors])
    np.testing.assert_array_equal(sprites.render(factors), expected)


def test_images_do_not_depend_on_the_others_in_a_call():
    factors = random_factors(40, seed=1)
    together = sprites.render(np.concatenate([factors, factors[::-1]]))
    single = np.concatenate([sprites.render(f[None]) for f in factors])
    np.testing.assert_array_equal(together, np.concatenate([single, single[::-1]]))


def test_first_and_last_orientation_are_equal():
    first = random_factors(30, seed=2)
    first[:, 2] = 0
    last = first.copy()
    last[:, 2] = 39
    np.testing.assert_array_equal(sprites.render(first), sprites.render(last))


def test_index_and_factors_are_inverse():
    index = np.arange(np.prod(sprites.SIZES))
    factors = sprites.factors_of(index)
    np.testing.assert_array_equal(sprites.index_of(factors), index)
    np.testing.assert_array_equal(factors[-1], np.array(sprites.SIZES) - 1)
    assert sprites.index_of(np.array([1, 2, 3, 4, 5])) == (((1 * 6 + 2) * 40 + 3) * 32 + 4) * 32 + 5


def test_factor_values_at_both_ends():
    ends = sprites.values_of(np.array([[0, 0, 0, 0, 0], [2, 5, 39, 31, 31]]))
    np.testing.assert_allclose(ends, [[1, 0.5, 0, 0, 0], [3, 1, 2 * np.pi, 1, 1]])


@pytest.mark.parametrize("bad", [[[0, 6, 0, 0, 0]], [[-1, 0, 0, 0, 0]], [[0, 0, 0, 0]]])
def test_invalid_factors_are_rejected(bad):
    with pytest.raises(ValueError, match="factor classes"):
        sprites.render(np.array(bad))


def test_an_invalid_index_is_rejected():
    with pytest.raises(ValueError, match="737280"):
        sprites.factors_of(np.array([737280]))


@pytest.fixture(scope="module")
def small():
    return {split: data.load("sprites:small", split) for split in ("train", "eval")}


def test_the_small_set_decodes_to_images_and_factors(small):
    source = small["train"]
    indices = np.random.default_rng(0).integers(0, source.size, 64)
    rows = source.take(indices)
    batch = jax.jit(source.decode)(rows)
    published = sprites.factors_of(rows["index"])
    assert batch["image"].shape == (64, 64, 64, 1)
    assert batch["image"].dtype == np.float32
    np.testing.assert_array_equal(batch["image"][..., 0], sprites.render(published))
    np.testing.assert_array_equal(batch["factors"], published // np.array([1, 1, 4, 2, 2]))
    np.testing.assert_array_equal(batch["label"], published[:, 0])
    assert batch["factors"].dtype == batch["label"].dtype == np.int32
    assert source.factor_sizes == (3, 6, 10, 16, 16)
    assert source.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert source.num_classes == 3


def test_splits_of_the_small_set_are_disjoint_and_complete(small):
    train, held = small["train"].arrays["index"], small["eval"].arrays["index"]
    assert (small["train"].size, small["eval"].size) == (41472, 4608)
    assert len(np.union1d(train, held)) == len(train) + len(held) == 46080
    factors = sprites.factors_of(np.union1d(train, held))
    assert (factors % np.array([1, 1, 4, 2, 2]) == 0).all()


@pytest.mark.slow  # it takes 400 MiB
def test_the_full_set_contains_every_image():
    source = data.load("sprites", holdout=0)
    assert source.size == 737280
    assert source.arrays["packed"].nbytes == 737280 * 512
    factors = random_factors(16, seed=3)
    batch = source.decode(source.take(sprites.index_of(factors)))
    np.testing.assert_array_equal(batch["image"][..., 0], sprites.render(factors))
    np.testing.assert_array_equal(batch["factors"], factors)


def test_images_above_max_resident_bytes_are_gathered_on_demand(small):
    source = data.load("sprites:small", "eval", max_resident_bytes=1000)
    assert source.arrays is None
    indices = np.array([3, 1, -1])
    for field, value in small["eval"].take(indices).items():
        np.testing.assert_array_equal(source.take(indices)[field], value)


@pytest.mark.parametrize("side", [16, 32])
def test_smaller_images_are_means_over_squares(small, side):
    rows = small["eval"].take(np.arange(5))
    source = data.load("sprites:small", "eval", image_size=side)
    batch = jax.jit(source.decode)(rows)
    large = sprites.render(sprites.factors_of(rows["index"])).astype(np.float64)
    every = 64 // side
    for i, j in np.ndindex(side, side):
        square = large[:, i * every : (i + 1) * every, j * every : (j + 1) * every]
        np.testing.assert_array_equal(batch["image"][:, i, j, 0], square.mean(axis=(1, 2)))
    np.testing.assert_array_equal(batch["factors"], jax.jit(small["eval"].decode)(rows)["factors"])


@pytest.mark.parametrize("options", [{"image_size": 28}, {"channels": 3}])
def test_other_image_options_are_rejected(options):
    with pytest.raises(ValueError, match="16, 32 or 64 pixels wide, with one channel"):
        data.load("sprites:small", **options)


def test_images_agree_with_the_published_ones():
    path = (
        pathlib.Path(os.environ.get("VAEJAX_TEST_DATA", "")) / "dsprites/dsprites_downsampled.npz"
    )
    if not path.is_file():
        pytest.skip("VAEJAX_TEST_DATA names no folder with the published images")
    with np.load(path) as published:
        images, index = published["imgs"], published["original_dataset_indices"]
        values = published["latents_values"]
    source = data.load("sprites:small", holdout=0)
    np.testing.assert_array_equal(source.arrays["index"], index)
    np.testing.assert_allclose(sprites.values_of(sprites.factors_of(index)), values, atol=1e-12)
    rendered = np.unpackbits(source.arrays["packed"], axis=-1).reshape(images.shape)
    different = (rendered != images).sum(axis=(1, 2))
    assert (different == 0).mean() >= 0.9998
    assert different.max() <= 2
