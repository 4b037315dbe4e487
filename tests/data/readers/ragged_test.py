"""Padding of sequences of different lengths, and missing values of tables."""

import numpy as np
import pytest

from vaejax.data import from_arrays, load
from vaejax.data.standardize import standardization

LENGTHS = np.array([3, 5, 1, 4])
ROWS = [np.arange(2 * n, dtype=np.float32).reshape(n, 2) + 10 * n for n in LENGTHS]


def batch_of(source):
    rows = source.take(np.arange(source.size))
    return {name: np.asarray(value) for name, value in source.decode(rows).items()}


def check(batch, length):
    assert batch["signal"].shape == (4, length, 2)
    np.testing.assert_array_equal(batch["mask"], np.arange(length) < LENGTHS[:, None])
    for row, padded in zip(ROWS, batch["signal"], strict=True):
        np.testing.assert_array_equal(padded[: len(row)], row)
        np.testing.assert_array_equal(padded[len(row) :], 0.0)


def padded(length=5):
    x = np.zeros((4, length, 2), np.float32)
    for i, row in enumerate(ROWS):
        x[i, : len(row)] = row
    return x


OBJECTS = np.empty(4, object)
OBJECTS[:] = ROWS
FORMS = {
    "list": {"signal": ROWS},
    "objects": {"signal": OBJECTS},
    "lengths": {"signal": padded(), "lengths": LENGTHS},
    "splits": {"signal": np.concatenate(ROWS), "row_splits": np.r_[0, np.cumsum(LENGTHS)]},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [0, 8])
def test_ragged_signals_are_padded_and_masked(form, length):
    check(batch_of(from_arrays(FORMS[form], holdout=0, length=length)), length or 5)


@pytest.mark.parametrize("form", ["lengths", "splits"])
def test_files_hold_lengths_or_splits(form, tmp_path):
    np.savez(tmp_path / "data.npz", **FORMS[form])
    check(batch_of(load(f"npz:{tmp_path / 'data.npz'}", holdout=0, length=7)), 7)


def test_both_splits_have_the_length_of_the_longest_event():
    arrays = {"train_tokens": [[1, 2], [3]], "test_tokens": [[1, 0, 2], [1]]}
    train, test = (batch_of(from_arrays(arrays, split)) for split in ("train", "eval"))
    np.testing.assert_array_equal(train["tokens"], [[1, 2, 0], [3, 0, 0]])
    np.testing.assert_array_equal(train["mask"], [[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(test["mask"], [[1, 1, 1], [1, 0, 0]])


def test_data_of_one_length_have_no_mask():
    assert "mask" not in batch_of(from_arrays({"signal": [ROWS[0], ROWS[0] + 1]}, holdout=0))


TABLE = np.array([[1.0, np.nan, 3.0], [2.0, 5.0, np.nan], [6.0, 7.0, 5.0]])
MASK = ~np.isnan(TABLE)


@pytest.mark.parametrize("form", ["nan", "masked_array"])
def test_missing_values_of_a_table_become_a_mask(form):
    table = TABLE if form == "nan" else np.ma.masked_array(np.nan_to_num(TABLE), ~MASK)
    batch = batch_of(from_arrays({"vector": table}, holdout=0, missing="mask"))
    np.testing.assert_array_equal(batch["mask"], MASK)
    np.testing.assert_array_equal(batch["vector"], np.nan_to_num(TABLE))


def test_missing_values_are_left_out_of_the_statistics_of_columns():
    units = standardization(from_arrays({"vector": TABLE}, holdout=0, missing="mask"))["vector"]
    np.testing.assert_allclose(units.shift, np.nanmean(TABLE, axis=0), rtol=1e-6)
    np.testing.assert_allclose(units.scale, np.nanstd(TABLE, axis=0), rtol=1e-6)
    signals = standardization(from_arrays(FORMS["list"], holdout=0))["signal"]
    np.testing.assert_allclose(signals.shift, np.concatenate(ROWS).mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"vector": TABLE}, {}, r"column 1 holds nan: .* or use data.missing=mask"),
        (FORMS["list"], {"length": 4}, "example 1 of 'signal' has the length 5, .* data.length"),
        ({"signal": [ROWS[0], ROWS[2][:0]]}, {}, "example 1 of 'signal' has the length 0"),
        ({"signal": [ROWS[0], ROWS[1][:, :1]]}, {}, "differ in their first axis alone"),
        ({"signal": padded(), "lengths": LENGTHS[:3]}, {}, r"'lengths' must be integers \[4\]"),
        ({"signal": padded(), "lengths": LENGTHS + 1}, {}, "example 1 .* has the length 6"),
        ({"signal": ROWS[0], "row_splits": np.array([0, 2])}, {}, "from 0 to the number of values"),
        ({"vector": TABLE[2:], "lengths": LENGTHS[:1]}, {}, "'lengths' is for sequences, signals"),
        (
            {"vector": np.ones((2, 3)), "mask": np.ones((2, 2), bool)},
            {},
            r"the mask of vector must have shape \(2, 3\), found \(2, 2\)",
        ),
        ({"vector": np.ones((2, 3)), "mask": np.ones((2, 3))}, {}, "'mask' must hold booleans"),
        ({"vector": TABLE}, {"missing": "drop"}, "data.missing must be refuse or mask"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(arrays, options, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(arrays, holdout=0, **options)
