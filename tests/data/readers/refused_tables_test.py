"""Tables that cannot be modelled, and damaged files: one line that names column and remedy."""

import numpy as np
import pytest

from tests.data.readers.table_files import TABLE, N, write
from vaejax import data

RANDOM = np.random.RandomState(1)
IDS = [f"id{i}" for i in range(N)]
REFUSED = {
    "text of identifiers": ({"name": IDS}, {}, "'name'.*60 different texts.*data.drop='name'"),
    "numbered rows": ({"id": np.arange(N) + 7}, {}, "column 'id'.*numbers the rows"),
    "dates": ({"day": np.arange(N).astype("datetime64[D]")}, {}, "column 'day'.*date32.*data.drop"),
    "missing numbers": ({"x": [None, np.nan, *range(N - 2)]}, {}, "'x'.*no value in 2 of 60 rows"),
    "missing text": ({"x": [None, *"ab" * 29, "b"]}, {}, "'x'.*no value in 1 of 60 rows"),
    "an empty column": ({"x": [None] * N}, {}, "'x'.*no value in 60 of 60 rows"),
    "lists": ({"x": [[1, 2]] * N}, {}, "column 'x'.*list"),
    "text among numbers": ({"x": [*map(str, range(N - 1)), "?"]}, {}, "text '[?]' among numbers"),
    "infinity": ({"x": [np.inf, *range(N - 1)]}, {}, "column 'x'.*holds inf"),
    "large numbers": ({"x": [-1e30, *range(N - 1)]}, {}, "column 'x'.*holds -1e[+]30"),
    "an offset": ({"x": 1e9 + RANDOM.rand(N)}, {}, "column 'x'.*float32 rounds away"),
    "huge integers": ({"x": 10**15 + np.arange(N) ** 2}, {}, "column 'x'.*float32 rounds away"),
    "a real label": ({"y": RANDOM.rand(N)}, {"label": "y"}, "'y'.*real numbers.*data.condition"),
    "an unknown label": ({}, {"label": "y"}, "data.label.*has no column 'y'"),
    "an unknown column": ({}, {"drop": "k,z"}, "data.drop.*has no column 'z'"),
    "fractions as categories": ({"x": RANDOM.rand(N)}, {"categories": "x"}, "'x'.*fractions"),
    "nothing left": ({}, {"drop": "k"}, "no columns to model"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_columns_that_cannot_be_modelled(tmp_path, case):
    columns, options, message = REFUSED[case]
    table = {"k": np.arange(N) % 7, **columns}
    with pytest.raises(ValueError, match=message) as caught:
        data.load(write(tmp_path / "a.parquet", table), **options)
    assert len(str(caught.value).splitlines()) == 1


MALFORMED = {
    "empty": (b"", "is empty"),
    "no rows": (b"a,b\n", "has no rows"),
    "one row": (b"a,b\n1,2\n", "holdout"),
    "no header": (b"5.1,3.5\n1,2\n3,4\n", "add a header"),
    "two names alike": (b"a,b,a\n1,2,3\n", "2 columns named 'a'"),
    "spaces": (b"a b c\n1 2 3\n4 5 6\n", "a single column.*separate columns by commas"),
    "a short line": (b"a,b\n1,2\n3\n", "cannot read.*Expected 2 columns"),
    "Latin-1": ("a,b\nMüller,2\nMaier,3\n".encode("latin-1") * 5, "UTF-8|binary"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "UTF-8"),
    "no table": (bytes(range(1, 255)) * 9, "cannot read|UTF-8|header|column"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_csv_files(tmp_path, case):
    content, message = MALFORMED[case]
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        data.load(f"csv:{tmp_path / 'a.csv'}")
    assert len(str(caught.value).splitlines()) == 1


def test_malformed_parquet_files(tmp_path):
    write(tmp_path / "a.parquet", TABLE)
    whole = (tmp_path / "a.parquet").read_bytes()
    for content in (whole[:-20], b"PAR1" + b"x" * 40 + b"PAR1", b""):
        (tmp_path / "b.parquet").write_bytes(content)
        with pytest.raises(ValueError, match="cannot read") as caught:
            data.load(f"parquet:{tmp_path / 'b.parquet'}")
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(FileNotFoundError, match="no file"):
        data.load("parquet:/no/such/file")
    with pytest.raises(ValueError, match=r"data.drop='a' is for csv and parquet:PATH"):
        data.load("synthetic:factors", drop="a")


def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    source = write(tmp_path / "a.csv", TABLE)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'vaejax\[tables\]'"):
        data.load(source)
