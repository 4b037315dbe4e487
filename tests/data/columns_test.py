"""Tables with named columns: from values to stored numbers and back."""

import json

import numpy as np
import pytest

from vaejax.data.columns import (
    Column,
    class_counts_of,
    columns_from_json,
    columns_to_json,
    named_columns,
    numbers_of_columns,
    one_hot_columns,
)

COLUMNS = (
    Column("age", (), "int"),
    Column("job", ("baker", "smith", "Über"), "string"),
    Column("owner", ("False", "True"), "bool"),
    Column("code", ("3", "10"), "int"),
)
TABLE = {
    "job": ["smith", "Über", "baker"],
    "age": [30, 41.5, -2],
    "owner": [True, False, True],
    "code": [10, 3, 3],
}
ROWS = [[30, 1, 1, 1], [41.5, 2, 0, 0], [-2, 0, 1, 0]]


def test_a_table_becomes_numbers_and_returns_with_its_names_and_types():
    rows = numbers_of_columns(COLUMNS, TABLE)
    np.testing.assert_array_equal(rows, np.array(ROWS, np.float32))
    assert rows.dtype == np.float32
    table = named_columns(COLUMNS, rows)
    assert list(table) == ["age", "job", "owner", "code"]
    for name, values in TABLE.items():
        np.testing.assert_array_equal(table[name], values)
    assert table["owner"].dtype == bool
    assert table["code"].dtype == int
    assert class_counts_of(COLUMNS) == (0, 3, 2, 2)


def test_columns_survive_json():
    assert columns_from_json(json.loads(json.dumps(columns_to_json(COLUMNS)))) == COLUMNS


def test_one_hot_columns():
    expected = [
        [30, 0, 1, 0, 0, 1, 0, 1],
        [41.5, 0, 0, 1, 1, 0, 1, 0],
        [-2, 1, 0, 0, 0, 1, 1, 0],
    ]
    actual = one_hot_columns(COLUMNS, np.array(ROWS, np.float32))
    np.testing.assert_array_equal(actual, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"job": ["smyth"] * 3}, "column 'job' has no category 'smyth'.*did you mean 'smith'"),
        ({"code": [10, 3, 4]}, "column 'code' has no category '4'"),
        ({"age": ["x", 1, 2]}, "column 'age' must hold numbers"),
        ({"age": [np.nan, 1, 2]}, "column 'age' must hold finite numbers"),
        ({"age": [1, 2]}, "one value per row"),
        ({"jobs": [1]}, "unknown column 'jobs'.*'job'"),
    ],
)
def test_what_a_table_may_not_hold(change, message):
    with pytest.raises(ValueError, match=message):
        numbers_of_columns(COLUMNS, {**TABLE, **change})
    rest = {k: v for k, v in TABLE.items() if k != "job"}
    with pytest.raises(ValueError, match="lacks the column 'job'"):
        numbers_of_columns(COLUMNS, rest)


def test_missing_values_stay_missing_where_they_are_allowed():
    table = {**TABLE, "job": ["smith", None, "baker"], "age": [np.nan, 1.5, 2.0]}
    rows = numbers_of_columns(COLUMNS, table, missing=True)
    np.testing.assert_array_equal(rows[:, :2], [[np.nan, 1], [1.5, np.nan], [2, 0]])
    with pytest.raises(ValueError, match="column 'age' must hold finite"):
        numbers_of_columns(COLUMNS, {**TABLE, "age": [np.nan, 1.5, 2.0]})


def test_numbers_that_are_no_classes_are_refused():
    for wrong in (3, -1, 0.5, np.nan):
        with pytest.raises(ValueError, match="column 'job' has the classes 0 to 2"):
            named_columns(COLUMNS, np.array([[1, wrong, 0, 0]]))
    with pytest.raises(ValueError, match=r"rows \[N, 4\]"):
        named_columns(COLUMNS, np.zeros((2, 3)))
