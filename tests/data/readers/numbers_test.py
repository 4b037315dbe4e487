"""Numbers that float32 cannot hold, what is not a number, and names that do not fit."""

import jax
import numpy as np
import pytest
import scipy.sparse

from vaejax import data

NAMES = np.array(["age", "price"])
GOOD = np.random.RandomState(0).randn(6, 2)


def with_value(value, dtype=np.float64):
    table = np.abs(GOOD * 10).astype(dtype)
    table[3, 1] = value
    return table


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (with_value(np.nan), "holds nan: remove or fill in"),
        (with_value(-np.inf), "holds -inf: remove or fill in"),
        (with_value(1e39), r"holds 1e\+39: scale this column down"),
        (with_value(3e18, np.float32), r"holds 3e\+18: scale"),
        (with_value(2**24 + 1, np.int64), "holds the integer 16777217"),
        (with_value(-(2**53) - 1, np.int64), "holds the integer -9007199254740993"),
        (with_value(2**32 - 1, np.uint32), "holds the integer 4294967295"),
        (with_value(2**63 - 1, np.int64), r"holds 9.22337e\+18: scale"),
    ],
)
def test_numbers_that_float32_cannot_hold_name_their_column(table, message, names):
    arrays = {"vector": table} | ({"column_names": NAMES} if names else {})
    column = "column 'price'" if names else "column 1"
    with pytest.raises(ValueError, match=message) as error:
        data.from_arrays(arrays, holdout=0)
    assert column in str(error.value)


def test_a_small_spread_on_a_large_offset_is_refused_and_a_large_one_taken():
    table = GOOD.copy()
    table[:, 1] = 1.7e9 + 100 * GOOD[:, 1]  # seconds since 1970
    with pytest.raises(ValueError, match=r"column 1 .*ranges from 16999.*subtract an offset"):
        data.from_arrays(table, holdout=0)
    table[:, 1] = 1.7e9 + 1e6 * GOOD[:, 1]
    source = data.from_arrays(table, holdout=0)
    np.testing.assert_array_equal(source.arrays["vector"], table.astype(np.float32))
    table[:, 1] = 1e-50 * GOOD[:, 1]
    with pytest.raises(ValueError, match="column 1"):
        data.from_arrays(table, holdout=0)
    table[:, 1] = 0.1 + 1e-17 * GOOD[:, 1]  # constant
    data.from_arrays(table, holdout=0)


def test_integers_that_float32_holds_are_taken():
    table = with_value(2**30, np.int64)
    source = data.from_arrays(table, holdout=0)
    np.testing.assert_array_equal(source.arrays["vector"], table)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int16, np.float64, np.int64])
@pytest.mark.parametrize("shape", [(5, 8, 64), (5, 16, 88), (5, 2, 9), (5, 9)])
def test_signals_have_their_channels_last_whatever_their_number(dtype, shape):
    roll = np.random.RandomState(0).rand(*shape) < 0.3
    source = data.from_arrays({"signal": roll.astype(dtype)}, holdout=0)
    signal = jax.device_get(source.decode(source.take(np.arange(5))))["signal"]
    scale = 2**15 if dtype == np.int16 else 1
    expected = roll.reshape(*shape[:2], -1).astype(np.float32) / scale
    np.testing.assert_array_equal(signal, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_rolls_are_stored_as_bytes(dtype):
    source = data.from_arrays({"signal": np.ones((4, 8, 12), dtype)}, holdout=0)
    assert source.arrays["signal"].dtype == np.uint8


@pytest.mark.parametrize("high", [255, 1023, 4095, 65535])
def test_16_bit_pictures_are_scaled_by_their_depth_in_both_splits(high):
    pixels = np.random.RandomState(0).randint(0, high // 2, (6, 4, 4)).astype(np.uint16)
    bright = pixels.copy()
    bright[0, 0, 0] = high
    source = data.from_arrays({"train_image": pixels, "test_image": bright})
    image = np.asarray(source.decode(source.take(np.arange(6)))["image"])[..., 0]
    np.testing.assert_allclose(image, pixels / high, rtol=1e-6)
    small = data.from_arrays({"image": bright}, image_size=2, holdout=0)
    assert small.arrays["image"].dtype == np.uint16
    mean = bright.reshape(6, 2, 2, 2, 2).mean(axis=(2, 4))
    assert np.abs(small.arrays["image"][..., 0] - mean).max() < high / 4


CLASSES = {"vector": GOOD, "label": np.arange(6) % 3, "factors": np.arange(12).reshape(6, 2) % 4}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"column_names": ["a"]}, "'column_names' has 1 names, but 'vector' has 2 columns"),
        ({"column_names": ["a", "b", "c"]}, "'column_names' has 3 names"),
        ({"factor_names": ["a"]}, "'factor_names' has 1 names, but 'factors' has 2 factors"),
        ({"class_names": ["a", "b"]}, "2 names, but labels go up to 2"),
        ({"class_names": [["a", "b", "c"]]}, r"list of strings, \[K\], found <U1 \(1, 3\)"),
        ({"class_names": np.array("abc")}, r"list of strings"),
        ({"column_names": [1.0, 2.0]}, "list of strings.*found float64"),
        ({"token_names": ["a"]}, "an array 'tokens', which is missing"),
    ],
)
def test_names_that_do_not_fit_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays({**CLASSES, **names}, holdout=0)


def test_names_of_unused_classes_count():
    names = {"class_names": list("abcde"), "column_names": NAMES, "factor_names": list("xy")}
    source = data.from_arrays({**CLASSES, **names}, holdout=0)
    assert source.num_classes == 5
    assert source.class_names == tuple("abcde")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[1, 2], [3]], object), "Python objects"),
        ([[1, 2], [3]], "Python objects"),
        (np.array([[1.0, None]]), "Python objects"),
        (np.array([["1.0", "2.0"]]), "must hold numbers, found <U3"),
        (np.ma.masked_invalid(with_value(np.nan)), "masked values"),
        (GOOD + 1j, "must hold numbers, found complex128"),
    ],
)
def test_what_is_not_an_array_of_numbers_says_what_to_give(tmp_path, value, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays({"vector": value}, holdout=0)


def test_a_sparse_condition_is_refused():
    with pytest.raises(ValueError, match=r"sparse matrix: give condition\.toarray"):
        data.from_arrays({"vector": scipy.sparse.eye(3), "condition": scipy.sparse.eye(3)})


def test_an_object_array_in_a_file_says_what_to_write(tmp_path):
    np.savez(tmp_path / "x.npz", vector=np.array([[1, 2], [3]], object))
    with pytest.raises(ValueError, match=r"'vector' in .*Python objects.*numpy.savez"):
        data.load(f"npz:{tmp_path}/x.npz")
