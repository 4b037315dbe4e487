"""Damaged and hostile tables: a reader gives arrays, or one of its errors in one line."""

import functools
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from tests.data.readers.damage import DAMAGE, damaged, file_of, fuzz, lines_of_errors, st


@fuzz(DAMAGE, st.integers(0, 40), st.sampled_from(["data-00000-of-00001.arrow", "state.json"]))
def test_damaged_datasets_of_hugging_face(tmp_path_factory, changes, cut, name):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    folder = tmp_path_factory.getbasetemp() / "fuzz_hf"
    if not folder.exists():
        dataset = datasets.Dataset.from_dict({"a": [1.0, 2.0, 3.0], "label": [0, 1, 0]})
        dataset.save_to_disk(str(folder))
    file = folder / name
    whole = file.read_bytes()
    try:
        file.write_bytes(damaged(whole, changes, cut))
        assert max(lines_of_errors(f"hf:{folder}")) <= 1
    finally:
        file.write_bytes(whole)


@functools.cache
def tables():
    """A CSV and a Parquet file, by suffix."""
    pa = pytest.importorskip("pyarrow")
    csv, parquet = (pytest.importorskip(f"pyarrow.{name}") for name in ("csv", "parquet"))
    columns = {"age": [31, 45, 27, 61], "x": [0.5, -2.0, 1e5, 3.25], "job": list("abca")}
    table = pa.table({**columns, "on": [True, False, True, True]})
    return {
        "csv": file_of_table(csv.write_csv, table),
        "parquet": file_of_table(parquet.write_table, table),
    }


def file_of_table(write, table):
    buffer = io.BytesIO()
    write(table, buffer)
    return buffer.getvalue()


@fuzz(st.sampled_from(["csv", "parquet"]), DAMAGE, st.integers(0, 40))
def test_damaged_tables(tmp_path_factory, kind, changes, cut):
    file = tmp_path_factory.getbasetemp() / f"fuzz.{kind}"
    file.write_bytes(damaged(tables()[kind], changes, cut))
    assert max(lines_of_errors(f"{kind}:{file}")) <= 1


@fuzz(st.text(st.sampled_from('ab1.,;\n"\t -\x00é'), max_size=60))
def test_any_text_as_a_table(tmp_path_factory, text):
    pytest.importorskip("pyarrow")
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_text(text, encoding="utf-8")
    assert max(lines_of_errors(f"csv:{file}")) <= 1


SPARSE = [
    file_of(scipy.sparse.save_npz, scipy.sparse.csr_matrix(np.eye(4)).asformat(kind))
    for kind in ("csr", "coo", "dia")
]


@fuzz(st.sampled_from(SPARSE), DAMAGE, st.integers(0, 40))
def test_damaged_sparse_matrices(tmp_path_factory, content, changes, cut):
    file = tmp_path_factory.getbasetemp() / "fuzz_sparse.npz"
    file.write_bytes(damaged(content, changes, cut))
    assert max(lines_of_errors(f"npz:{file}")) <= 1


@functools.cache
def cells(sparse):
    """A h5ad file of four cells and three genes, with a label and a layer."""
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    counts = np.arange(12, dtype=np.float32).reshape(4, 3)
    x = scipy.sparse.csr_matrix(counts) if sparse else counts
    obs = pandas.DataFrame({"kind": pandas.Categorical(list("abab"))}, index=list("wxyz"))
    table = anndata.AnnData(x, obs=obs, layers={"raw": x.copy()})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cells.h5ad"
        table.write_h5ad(file)
        return file.read_bytes()


@fuzz(st.booleans(), DAMAGE, st.integers(0, 40))
def test_damaged_files_of_cells(tmp_path_factory, sparse, changes, cut):
    file = tmp_path_factory.getbasetemp() / "fuzz.h5ad"
    file.write_bytes(damaged(cells(sparse), changes, cut))
    assert max(lines_of_errors(f"h5ad:{file}")) <= 1
