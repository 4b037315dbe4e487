"""Sparse matrices as sources: the same batches as dense arrays, in memory of what is not zero."""

import json
import tracemalloc

import numpy as np
import pytest
import scipy.sparse

from vaejax import data
from vaejax.data.source import hold_out, subset
from vaejax.data.sparse import sparse_rows
from vaejax.data.standardize import standardization

RANDOM = np.random.RandomState(0)
COUNTS = (RANDOM.poisson(3.0, (40, 30)) * (RANDOM.rand(40, 30) < 0.1)).astype(np.int64)
FORMATS = ["csr", "csc", "coo", "bsr", "dia"]


def save(tmp_path, matrix, name="a.npz"):
    scipy.sparse.save_npz(tmp_path / name, matrix)
    return f"npz:{tmp_path / name}"


@pytest.mark.parametrize("form", FORMATS)
def test_batches_are_those_of_the_dense_array(tmp_path, form):
    source = save(tmp_path, scipy.sparse.csr_matrix(COUNTS).asformat(form))
    for split in ("train", "eval"):
        dense = data.from_arrays({"counts": COUNTS}, split)
        loaded = data.load(source, split)
        assert loaded.size == dense.size
        assert loaded.arrays is None
        indices = RANDOM.randint(dense.size, size=25)
        taken = loaded.take(indices)["vector"]
        np.testing.assert_array_equal(taken, dense.take(indices)["vector"])
        assert taken.dtype == np.uint8  # counts below 256
        assert np.asarray(loaded.decode(loaded.take(indices))["vector"]).dtype == np.float32


def test_memory_is_in_proportion_to_what_is_not_zero():
    n, d = 4000, 2500
    matrix = scipy.sparse.random(n, d, 0.01, "csr", random_state=1)  # 100,000 values
    tracemalloc.start()
    try:
        source = data.from_arrays(matrix, holdout=0.1)
        source.take(np.arange(8))
        standardization(source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    stored = source.sparse.vector
    assert stored.nbytes == pytest.approx(8 * matrix.nnz * 0.9 + 8 * 3601, rel=0.02)
    assert peak < 100 * matrix.nnz < n * d * 4 / 3  # the dense array has 40 MB


def test_means_and_deviations_are_those_of_the_dense_array():
    values = COUNTS * np.linspace(0.001, 1e4, 30)
    dense = standardization(data.from_arrays(values, holdout=0))["vector"]
    sparse = standardization(data.from_arrays(scipy.sparse.coo_array(values), holdout=0))["vector"]
    np.testing.assert_allclose(sparse.shift, dense.shift, rtol=1e-6)
    np.testing.assert_allclose(sparse.scale, dense.scale, rtol=1e-6)


def test_labels_and_names_stand_beside_a_sparse_matrix():
    label = np.arange(40) % 3
    names = np.array([f"gene{i}" for i in range(30)])
    arrays = {"counts": scipy.sparse.csc_array(COUNTS), "label": label, "column_names": names}
    source = data.from_arrays(arrays, holdout=0)
    np.testing.assert_array_equal(source.take(np.array([5, 1]))["label"], [2, 1])
    assert source.num_classes == 3
    assert source.column_names[29] == "gene29"
    part = subset(source, np.array([3, 7]), "validation")
    np.testing.assert_array_equal(part.take(np.array([1]))["vector"], COUNTS[[7]])
    np.testing.assert_array_equal(part.sparse.vector.dense(np.arange(2)), COUNTS[[3, 7]])


def test_explicit_zeros_and_double_entries():
    matrix = scipy.sparse.coo_array(([0.0, 1.5, 2.0], ([0, 1, 1], [0, 1, 1])), (2, 2))
    rows = sparse_rows(matrix)
    assert len(rows.values) == 1
    np.testing.assert_array_equal(rows.dense(np.arange(2)), [[0, 0], [0, 3.5]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"counts": scipy.sparse.csr_array(COUNTS * np.nan)}, "finite.*column 0|column"),
        ({"train_x": scipy.sparse.csr_array(COUNTS)}, "no splits by name"),
        ({"vector": scipy.sparse.csr_array(COUNTS), "label": [1, 2]}, "40 rows, but 'label' has 2"),
        ({"vector": COUNTS, "condition": scipy.sparse.csr_array(COUNTS)}, "only 'vector'"),
    ],
)
def test_what_is_refused(arrays, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(arrays)


def test_a_damaged_file(tmp_path):
    file = tmp_path / "a.npz"
    matrix = scipy.sparse.csr_matrix(COUNTS)
    matrix.indices[3] = 999
    np.savez(
        file, indices=matrix.indices, indptr=matrix.indptr, format=b"csr", shape=(40, 30),
        data=matrix.data,
    )  # fmt: skip
    with pytest.raises(ValueError, match="cannot read") as caught:
        data.load(f"npz:{file}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture
def cells(tmp_path):
    """Writes COUNTS as an AnnData file: its source string."""
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    obs = pandas.DataFrame(
        {
            "cell_type": pandas.Categorical(["T", "B"] * 20),
            "batch": [f"run {i % 3}" for i in range(40)],
            "depth": np.linspace(0, 1, 40),
            "cluster": np.arange(40) % 4,
            "gap": [None, *["x"] * 39],
        },
        index=[f"cell{i}" for i in range(40)],
    )
    var = pandas.DataFrame(index=[f"gene{i}" for i in range(30)])

    def write(matrix, layer=None, name="a.h5ad"):
        layers = {} if layer is None else {"counts": layer}
        anndata.AnnData(matrix, obs, var, layers=layers).write_h5ad(tmp_path / name)
        return f"h5ad:{tmp_path / name}"

    return write


def test_cells_of_an_anndata_file(cells, tmp_path, monkeypatch):
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "cache"))
    normalised = np.log1p(COUNTS).astype(np.float32)
    source = cells(normalised, scipy.sparse.csr_matrix(COUNTS.astype(np.float32)))
    options = {"label": "cell_type", "condition": "batch,depth", "layer": "counts", "holdout": 0.2}
    loaded = data.load(source, "eval", **options)
    dense = data.from_arrays({"counts": COUNTS, "label": np.arange(40) % 2}, "eval", holdout=0.2)
    positions = hold_out(40, "eval", 0.2)
    rows = loaded.take(np.arange(loaded.size))
    np.testing.assert_array_equal(rows["vector"], dense.arrays["vector"])
    assert loaded.class_names == ("B", "T")
    np.testing.assert_array_equal(rows["label"], 1 - dense.arrays["label"])
    expected = [*np.eye(3)[positions % 3].T, np.linspace(0, 1, 40)[positions]]
    np.testing.assert_allclose(rows["condition"].T, expected, rtol=1e-6)
    assert loaded.column_names[3] == "gene3"
    # A matrix larger than memory is mapped, with the same rows.
    large = data.load(source, "eval", max_resident_bytes=10, **options)
    assert large.sparse is None
    for name, value in large.take(np.arange(large.size)).items():
        np.testing.assert_array_equal(value, rows[name])
    plain = data.load(source, holdout=0, label="cluster")
    np.testing.assert_array_equal(plain.arrays["vector"], normalised)
    assert (plain.num_classes, plain.class_names) == (4, None)
    columns = data.load(cells(scipy.sparse.csc_matrix(COUNTS), name="b.h5ad"), holdout=0)
    np.testing.assert_array_equal(columns.take(np.arange(40))["vector"], COUNTS)


def test_what_an_anndata_file_lacks_is_refused_in_one_line(cells, tmp_path):
    source = cells(scipy.sparse.csr_matrix(COUNTS))
    for options, message in (
        ({"layer": "raw"}, "no layer 'raw'"),
        ({"label": "celltype"}, "no column 'celltype'.*did you mean 'cell_type'"),
        ({"label": "depth"}, "'depth'.*real numbers"),
        ({"condition": "gap"}, "'gap'.*no value in 1 of 40 cells"),
        ({"drop": "gene1"}, "data.drop='gene1' is for"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            data.load(source, **options)
        assert len(str(caught.value).splitlines()) == 1
    whole = (tmp_path / "a.h5ad").read_bytes()
    (tmp_path / "b.h5ad").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot read") as caught:
        data.load(f"h5ad:{tmp_path / 'b.h5ad'}")
    assert len(str(caught.value).splitlines()) == 1


def test_without_anndata_the_error_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.h5ad").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'vaejax\[cells\]'"):
        data.load(f"h5ad:{tmp_path / 'a.h5ad'}")


def test_another_file_has_the_classes_of_the_trained_one(cells):
    from vaejax.data.spec import DataSpec, spec_of

    source = cells(scipy.sparse.csr_matrix(COUNTS))
    options = {"label": "cell_type", "condition": "batch", "holdout": 0}
    trained = data.load(source, **options)
    spec = DataSpec.from_json(json.loads(json.dumps(spec_of(trained).to_json())))
    form = spec.table_form()
    again = data.load(source, form=form, **options)
    rows = [s.take(np.arange(40)) for s in (trained, again)]
    for name in ("label", "condition", "vector"):
        np.testing.assert_array_equal(rows[0][name], rows[1][name])
    with pytest.raises(ValueError, match="no category"):
        data.load(source, form=form._replace(class_names=("B", "NK")), **options)
    with pytest.raises(ValueError, match="trained on 29 genes"):
        data.load(source, form=form._replace(columns=form.columns[1:]), **options)
