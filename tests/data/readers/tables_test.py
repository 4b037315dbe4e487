"""CSV and Parquet tables against pyarrow and NumPy."""

import gzip
import json

import numpy as np
import pytest

from tests.data.readers.table_files import TABLE, N, write
from vaejax import data
from vaejax.data.columns import TableForm, named_columns
from vaejax.data.readers import arrow_files

pa = pytest.importorskip("pyarrow")
RANDOM = np.random.RandomState(1)


@pytest.mark.parametrize("file", ["table.csv", "table.parquet"])
def test_columns_become_numbers_and_categories(tmp_path, file):
    options = {"row_group_size": 7} if file.endswith("parquet") else {}
    source = write(tmp_path / file, TABLE, **options)
    loaded = data.load(source, holdout=0, label="class", drop="age")
    kinds = {column.name: (column.categories, column.dtype) for column in loaded.columns}
    assert kinds == {
        "income": ((), "float"),
        "job": (("baker", "smith", "Über, dim"), "string"),
        "owner": (("False", "True"), "bool"),
        "bit": (("0", "1"), "int"),
    }
    assert loaded.column_names == ("income", "job", "owner", "bit")
    expected = np.stack(
        [
            TABLE["income"].astype(np.float32),
            np.unique(TABLE["job"], return_inverse=True)[1],
            TABLE["owner"],
            TABLE["bit"],
        ],
        axis=1,
    )
    np.testing.assert_array_equal(loaded.arrays["vector"], expected)
    np.testing.assert_array_equal(loaded.arrays["label"], TABLE["class"] == "yes")
    assert loaded.class_names == ("no", "yes")
    table = named_columns(loaded.columns, loaded.arrays["vector"])
    for name in ("job", "owner", "bit"):
        np.testing.assert_array_equal(table[name], TABLE[name])


def test_dictionaries_decimals_and_the_index_of_pandas(tmp_path):
    table = {
        "job": pa.array(TABLE["job"]).dictionary_encode(),
        "price": pa.array(TABLE["age"]).cast(pa.decimal128(22, 2)),
        "__index_level_0__": np.arange(N),
    }
    loaded = data.load(write(tmp_path / "a.parquet", table), holdout=0)
    assert loaded.column_names == ("job", "price")
    np.testing.assert_array_equal(loaded.arrays["vector"][:, 1], TABLE["age"])


def test_conditions_are_one_hot_beside_numbers(tmp_path):
    source = write(tmp_path / "a.csv", TABLE)
    loaded = data.load(source, holdout=0, condition="job, age", label="bit")
    _, job = np.unique(TABLE["job"], return_inverse=True)
    expected = np.concatenate([np.eye(3)[job], TABLE["age"][:, None]], axis=1)
    np.testing.assert_array_equal(loaded.arrays["condition"], expected.astype(np.float32))
    assert [column.name for column in loaded.condition_columns] == ["job", "age"]
    assert "job" not in loaded.column_names
    assert (loaded.num_classes, loaded.class_names) == (2, None)  # integers from 0


def test_numbers_can_be_categories(tmp_path):
    rows = {"x": TABLE["income"], "sex": [1.0, 2.0, 9.0] * 20, "k": [30, 4, 4] * 20}
    loaded = data.load(write(tmp_path / "a.csv", rows), holdout=0, categories="sex,k")
    assert [column.categories for column in loaded.columns] == [(), ("1", "2", "9"), ("4", "30")]
    np.testing.assert_array_equal(loaded.arrays["vector"][:3, 1:], [[0, 1], [1, 0], [2, 0]])
    table = named_columns(loaded.columns, loaded.arrays["vector"])
    np.testing.assert_array_equal(table["sex"], rows["sex"])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_and_compression(tmp_path, delimiter):
    lines = [delimiter.join(("a", " b ")), *(delimiter.join((str(i * i), "x y")) for i in range(9))]
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("\n".join(lines))
    loaded = data.load(f"csv:{tmp_path / 'a.csv.gz'}", holdout=0)
    assert loaded.column_names == ("a", "b")
    np.testing.assert_array_equal(loaded.arrays["vector"][:, 0], np.arange(9) ** 2)


def test_files_named_by_splits_share_their_categories(tmp_path):
    table = {"job": ["a", "b", "a"], "x": [1.5, 2, 3]}
    write(tmp_path / "train.csv", table)
    write(tmp_path / "test.csv", {"x": [4.0], "job": ["c"]})
    train, held_out = (data.load(f"csv:{tmp_path}", split) for split in ("train", "eval"))
    assert train.columns == held_out.columns
    assert train.columns[0].categories == ("a", "b", "c")
    np.testing.assert_array_equal(train.arrays["vector"], [[0, 1.5], [1, 2], [0, 3]])
    np.testing.assert_array_equal(held_out.arrays["vector"], [[2, 4]])


def test_files_without_split_names_are_one_table(tmp_path):
    for i in range(3):
        write(tmp_path / f"part-{i}.parquet", {"x": np.arange(i, i + 4) ** 2.0})
    loaded = data.load(f"parquet:{tmp_path}", holdout=0)
    expected = np.concatenate([np.arange(i, i + 4) ** 2.0 for i in range(3)])
    np.testing.assert_array_equal(loaded.arrays["vector"][:, 0], expected)


@pytest.mark.parametrize("file", ["table.csv", "table.parquet"])
def test_a_large_table_is_streamed_with_the_same_rows(tmp_path, file, monkeypatch):
    monkeypatch.setattr(arrow_files, "_BLOCK", 256)  # bytes, so that types are widened too
    rows = {**TABLE, "late": [1] * (N - 2) + [2.5, 3], "text": ["7"] * (N - 1) + ["x"]}
    source = write(tmp_path / file, rows)
    options = {"holdout": 0.25, "label": "class"}
    small = data.load(source, **options)
    large = data.load(source, max_resident_bytes=100, **options)
    again = data.load(source, max_resident_bytes=100, **options)  # from the cache
    assert small.arrays is not None
    assert large.arrays is None
    assert list((tmp_path / "cache").glob("*.rows"))
    assert not list((tmp_path / "cache").glob("*.tmp"))
    indices = RANDOM.permutation(small.size)
    for name, value in small.take(indices).items():
        np.testing.assert_array_equal(large.take(indices)[name], value)
        np.testing.assert_array_equal(again.take(indices)[name], value)
    assert small.columns == large.columns == again.columns


def test_another_table_has_the_categories_of_the_trained_one(tmp_path):
    trained = data.load(write(tmp_path / "a.csv", TABLE), holdout=0, label="class")
    form = TableForm(trained.columns, (), trained.class_names, trained.num_classes)
    few = {name: values[:5] for name, values in TABLE.items()}
    few |= {"job": ["smith"] * 5, "owner": [True] * 5, "bit": [1] * 5, "class": ["yes"] * 5}
    few = dict(reversed(few.items()))
    other = data.load(write(tmp_path / "b.csv", few), holdout=0, label="class", form=form)
    assert other.columns == trained.columns
    expected = [TABLE["age"][:5], TABLE["income"][:5], [1] * 5, [1] * 5, [1] * 5]
    np.testing.assert_array_equal(other.arrays["vector"], np.float32(expected).T)
    np.testing.assert_array_equal(other.arrays["label"], [1] * 5)
    assert other.class_names == ("no", "yes")
    for change, message in (
        ({"job": ["miner"] * 5}, "column 'job'.*without: 'miner'"),
        ({"class": ["maybe"] * 5}, "label 'class'.*without: 'maybe'"),
        ({"age": ["old"] * 5}, "column 'age'.*holds text"),
        ({"extra": [1.5] * 5}, "without the column 'extra'"),
    ):
        source = write(tmp_path / "c.csv", {**few, **change})
        with pytest.raises(ValueError, match=message):
            data.load(source, holdout=0, label="class", form=form)
    del few["job"]
    with pytest.raises(ValueError, match="lacks the column 'job'"):
        data.load(write(tmp_path / "c.csv", few), holdout=0, label="class", form=form)


@pytest.mark.parametrize("file", ["table.csv", "table.parquet"])
def test_missing_values_become_a_mask(tmp_path, file):
    rows = {
        "x": [1.5, None, 2.5, None] * 10,
        "job": ["a", "b", None, "a"] * 10,
        "n": [None, 1, 0, 1] * 10,
        "y": ["u", "v"] * 20,
    }
    source = write(tmp_path / file, rows)
    loaded = data.load(source, holdout=0, missing="mask", label="y")
    assert [column.categories for column in loaded.columns] == [(), ("a", "b"), ("0", "1")]
    present = [[True, True, False], [False, True, True], [True, False, True], [False, True, True]]
    np.testing.assert_array_equal(loaded.arrays["mask"], present * 10)
    expected = [[1.5, 0, 0], [0, 1, 1], [2.5, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(loaded.arrays["vector"], expected * 10)
    assert np.asarray(loaded.decode(loaded.take(np.arange(4)))["mask"]).dtype == bool
    for options, message in (
        ({"missing": "mask", "label": "job"}, "'job'.*no value in 10 of 40 rows"),
        ({}, "'x'.*no value in 20 of 40 rows .and 2 more columns.*data.missing=mask"),
    ):
        with pytest.raises(ValueError, match=message):
            data.load(source, holdout=0, **options)


def test_the_form_of_a_table_survives_json(tmp_path):
    from vaejax.data.spec import DataSpec, spec_of

    loaded = data.load(write(tmp_path / "a.csv", TABLE), label="class", condition="job")
    spec = DataSpec.from_json(json.loads(json.dumps(spec_of(loaded).to_json())))
    assert spec.columns == loaded.columns
    assert spec.table_form() == TableForm(
        loaded.columns, loaded.condition_columns, ("no", "yes"), 2
    )
    units = spec.standardization
    is_category = [bool(column.categories) for column in loaded.columns]
    np.testing.assert_array_equal(units["vector"].shift[is_category], 0)
    np.testing.assert_array_equal(units["vector"].scale[is_category], 1)
    mean = loaded.arrays["vector"][:, 0].mean(dtype=np.float64)
    np.testing.assert_allclose(units["vector"].shift[0], mean, rtol=1e-6)
    np.testing.assert_array_equal(units["condition"].scale, 1)  # one-hot
