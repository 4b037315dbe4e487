"""The units of tables and signals, and the values that checks read."""

import numpy as np
import pytest

from vaejax import data
from vaejax.data.spec import DataSpec, spec_of
from vaejax.data.standardize import standardization
from vaejax.data.values import chunks, range_of


def table(rows=9000):
    random = np.random.RandomState(0)
    shift, scale = [2023.0, 1e5, 0.0, 7.0], [5.0, 3e4, 1e-6, 0.0]
    return (shift + scale * random.randn(rows, 4)).astype(np.float32)


@pytest.mark.parametrize("limit", [2**30, 1], ids=["resident", "streamed"])
def test_columns_have_the_moments_of_the_training_split(limit):
    x = table()
    arrays = {"train_vector": x[:8000], "test_vector": x[8000:] + 1e6}
    source = data.from_arrays(arrays, max_resident_bytes=limit)
    units = standardization(source)["vector"]
    exact = x[:8000].astype(np.float64)
    np.testing.assert_allclose(units.shift, exact.mean(axis=0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(units.scale[:3], exact.std(axis=0)[:3], rtol=1e-6)
    assert units.scale[3] == 1  # constant


def test_a_large_mean_does_not_hide_a_small_deviation():
    x = np.float32(1e6) + np.random.RandomState(0).randint(0, 2, (5000, 1)).astype(np.float32)
    units = standardization(data.from_arrays(x, holdout=0))["vector"]
    np.testing.assert_allclose(units.scale, x.astype(np.float64).std(axis=0), rtol=1e-6)


def test_signals_have_units_for_each_channel_and_conditions_for_each_column():
    random = np.random.RandomState(0)
    signal = random.randn(50, 6, 2) * [1.0, 1000.0] + [0.0, 5.0]
    condition = random.randn(50, 3) * 100
    source = data.from_arrays({"signal": signal, "condition": condition}, holdout=0)
    units = standardization(source)
    np.testing.assert_allclose(units["signal"].scale, signal.std(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(units["condition"].scale, condition.std(axis=0), rtol=1e-5)


def test_images_and_generated_data_have_no_units():
    assert standardization(data.from_arrays(np.zeros((4, 8, 8), np.uint8), holdout=0)) == {}
    assert standardization(data.load("synthetic:factors")) == {}
    assert standardization(data.load("oscillator:length=20")) == {}


def test_the_units_are_stored_with_the_form_of_the_data():
    source = data.from_arrays(table(50), holdout=0)
    spec = spec_of(source)
    again = DataSpec.from_json(spec.to_json())
    for name in ("shift", "scale"):
        before, after = (getattr(s.standardization["vector"], name) for s in (spec, again))
        np.testing.assert_array_equal(before, after)
    older = {k: v for k, v in spec.to_json().items() if k != "standardization"}
    assert DataSpec.from_json(older).standardization == {}


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[[0, 3], [255, 7]]], np.uint8), (0, 1, False)),
        (np.array([[[0, 1], [1, 0]]], np.uint8), (0, 1, True)),
        (np.array([[[0.25, 0.5], [0.5, 0.5]]]), (0.25, 0.5, False)),
        (np.array([[3.0, -7.0]]), (-7, 3, True)),
        (np.array([[200, 3]], np.uint8), (3, 200, True)),
    ],
)
def test_a_range_is_that_of_the_decoded_values(array, expected):
    source = data.from_arrays(np.repeat(array, 3, axis=0), holdout=0)
    (field,) = source.arrays
    found = range_of(source, field)
    np.testing.assert_allclose(found[:3], expected, rtol=1e-6)
    assert found.exact


def test_pixels_of_bytes_are_read_once_for_each_value():
    pixels = np.random.RandomState(0).randint(0, 256, (500, 9, 9), np.uint8)
    (values,) = chunks(data.from_arrays(pixels, holdout=0), "image")
    np.testing.assert_allclose(values[:, 0], np.arange(256) / 255, rtol=1e-6)
    assert range_of(data.from_arrays(pixels, holdout=0), "image", "dynamic")[:3] == (0, 1, True)
