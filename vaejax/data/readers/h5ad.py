"""AnnData files: counts of cells as sparse rows, columns of `obs` as labels and conditions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vaejax.core.registry import near_names
from vaejax.core.types import Setting, Untyped
from vaejax.data.columns import Column, TableForm, one_hot_columns, positions_of
from vaejax.data.load_options import LoadOptions
from vaejax.data.readers import fields
from vaejax.data.readers.cache import load_or_build
from vaejax.data.readers.decoded_source import digest_of
from vaejax.data.readers.sparse_file import check_sparse, sparse_source
from vaejax.data.readers.table_layout import names_of
from vaejax.data.row_storage import allocate_rows, process_share
from vaejax.data.source import Rows, Source, decoder, hold_out, in_memory
from vaejax.data.sparse import SparseRows, sparse_rows

__all__ = ["load_h5ad"]

_MAX_CLASSES = 1000
_CHUNK = 2**22  # stored values
_VERSION = 1  # increase when the stored rows change


def load_h5ad(path: str, options: LoadOptions) -> Source:
    """An AnnData file: the matrix X, or the layer `options.layer`, of all cells and genes.

    A sparse matrix is never made dense as a whole. `obs` columns named by `options.label` and
    `options.condition` become labels and conditions.

    Raises:
      FileNotFoundError: the file does not exist.
      ImportError: anndata is not installed.
      ValueError: the file is damaged, or lacks the matrix or a column.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}: h5ad:PATH needs a file of AnnData")
    try:
        import h5py
        from anndata.io import read_elem
    except ImportError as error:
        raise ImportError(
            "h5ad:PATH needs anndata, which is not installed: pip install 'vaejax[cells]'"
        ) from error
    try:
        with h5py.File(file, "r") as stored:
            matrix = _matrix_of(file, stored, options.layer)
            names = tuple(map(str, read_elem(stored["var"]).index))
            needed = [*names_of(options.condition), *([options.label] if options.label else [])]
            obs = read_elem(stored["obs"]) if needed else None
            vector = _read_matrix(file, stored, matrix, options)
    except (_RefusedError, FileNotFoundError, ImportError):
        raise
    except Exception as error:  # what a damaged file raises is arbitrary
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot read {file}: {text[:300]}") from error
    rest, described = _of_cells(file, obs, options)
    described["column_names"] = names
    _check_form(file, names, options.form)
    size = vector.size if isinstance(vector, SparseRows) else len(vector)
    for field, value in rest.items():
        if len(value) != size:
            raise ValueError(f"{file} is damaged: {len(value)} values of {field} of {size} cells")
    columns = vector.num_columns if isinstance(vector, SparseRows) else vector.shape[1]
    if len(names) != columns or 0 in (size, columns):
        raise ValueError(f"{file} has {size} cells, {columns} genes and {len(names)} names of them")
    if isinstance(vector, SparseRows):
        check_sparse(str(file), vector, names)
        return sparse_source(vector, rest, options, **described)
    return in_memory(
        {"vector": vector, **rest},
        hold_out(size, options.split, options.holdout),
        max_resident_bytes=options.max_resident_bytes,
        name=options.source,
        split=options.split,
        decode=decoder(255.0),
        **described,
    )


class _RefusedError(ValueError):
    """A file without what was asked for, or in an unsupported form."""


def _matrix_of(file: Path, stored: Untyped, layer: str) -> str:
    """The path of the matrix inside the file."""
    if not layer:
        if "X" not in stored:
            raise _RefusedError(f"{file} has no matrix X: choose one of its layers by data.layer")
        return "X"
    layers = sorted(stored["layers"]) if "layers" in stored else []
    if layer not in layers:
        raise _RefusedError(f"data.layer: {file} has no layer {near_names(layer, layers)}")
    return f"layers/{layer}"


def _read_matrix(
    file: Path, stored: Untyped, path: str, options: LoadOptions
) -> SparseRows | np.ndarray:
    """The matrix: sparse rows, or an array; mapped into memory if it is larger than allowed."""
    node = stored[path]
    kind = str(node.attrs.get("encoding-type", "array"))
    if not hasattr(node, "keys"):
        return _read_dense(file, node, path, options)
    if kind not in ("csr_matrix", "csc_matrix"):
        raise _RefusedError(f"{path} of {file} is neither dense nor sparse, but {kind!r}")
    parts = {name: node[name] for name in ("data", "indices", "indptr")}
    shape = tuple(int(n) for n in node.attrs["shape"])
    large = len(parts["data"]) * 8 > options.max_resident_bytes
    if kind == "csc_matrix" or not large:
        if large:
            raise _RefusedError(
                f"{path} of {file} is sparse by columns and larger than data.max_resident_bytes: "
                "write it by rows, adata.X = adata.X.tocsr()"
            )
        import scipy.sparse

        make = scipy.sparse.csr_array if kind == "csr_matrix" else scipy.sparse.csc_array
        arrays = tuple(part[()] for part in parts.values())
        return sparse_rows(make(arrays, shape=shape))

    def build() -> Rows:
        rows = allocate_rows(
            {
                "values": (parts["data"].shape, np.float32),
                "columns": (parts["indices"].shape, np.int32),
                "starts": (parts["indptr"].shape, np.int64),
            },
            on_disk=True,
        )
        for name, part in zip(("values", "columns", "starts"), parts.values(), strict=True):
            for start in range(0, len(part), _CHUNK):
                rows[name][start : start + _CHUNK] = part[start : start + _CHUNK]
        _check_rows(file, rows, shape)
        return rows

    rows = load_or_build(f"h5ad-{digest_of([_VERSION, path, *_state_of(file)])}", build)
    return SparseRows(rows["values"], rows["columns"], rows["starts"], shape[1])


def _check_rows(file: Path, rows: Rows, shape: tuple[int, ...]) -> None:
    """Raises ValueError if rows in compressed form are inconsistent."""
    starts, columns = rows["starts"], rows["columns"]
    consistent = len(starts) == shape[0] + 1 and starts[0] == 0
    consistent = consistent and starts[-1] == len(columns) == len(rows["values"])
    consistent = consistent and bool((np.diff(starts) >= 0).all())
    if not consistent or columns.min() < 0 or columns.max() >= shape[1]:
        raise _RefusedError(f"the sparse matrix of {file} is damaged")


def _read_dense(file: Path, node: Untyped, path: str, options: LoadOptions) -> np.ndarray:
    """A matrix that is stored as an array."""
    if node.ndim != 2:
        raise _RefusedError(f"{path} of {file} must have the shape [N, D], found {node.shape}")
    if node.size * 4 <= process_share(options.max_resident_bytes):
        return fields.validate("vector", f"{path} of {file}", node[()])

    def build() -> Rows:
        rows = allocate_rows({"vector": (node.shape, np.float32)}, on_disk=True)
        step = max(1, _CHUNK // node.shape[1])
        for start in range(0, node.shape[0], step):
            part = fields.validate("vector", f"{path} of {file}", node[start : start + step])
            rows["vector"][start : start + step] = part
        return rows

    name = f"h5ad-{digest_of([_VERSION, path, *_state_of(file)])}"
    return load_or_build(name, build)["vector"]


def _state_of(path: Path) -> list[Untyped]:
    state = path.stat()
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def _of_cells(file: Path, obs: Untyped, options: LoadOptions) -> tuple[Rows, dict[str, Setting]]:
    """The fields from columns of `obs`, and what describes them in a `Source`."""
    rest: Rows = {}
    described: dict[str, Setting] = {}
    form: TableForm | None = options.form
    if options.label:
        column = _column(file, obs, options.label, categorical=True)
        if form is not None and form.classes:
            names = form.class_names or tuple(map(str, range(form.classes)))
            column = Column(options.label, names, column.dtype)
        rest["label"] = _positions(file, column, obs).astype(np.int32)
        names = column.categories
        plain = column.dtype == "int" and names == tuple(map(str, range(len(names))))
        described |= {"num_classes": len(names), "class_names": None if plain else names}
    if options.condition:
        chosen = names_of(options.condition)
        columns = [_column(file, obs, name, categorical=False) for name in chosen]
        if form is not None and form.condition_columns:
            columns = list(form.condition_columns)
        values = np.stack([_positions(file, column, obs) for column in columns], axis=1)
        rest["condition"] = one_hot_columns(columns, values)
        described["condition_columns"] = tuple(columns)
    return rest, described


def _positions(file: Path, column: Column, obs: Untyped) -> np.ndarray:
    try:
        return positions_of(column, np.asarray(obs[column.name]))
    except ValueError as error:
        raise ValueError(f"obs of {file}: {error}") from None


def _column(file: Path, obs: Untyped, name: str, *, categorical: bool) -> Column:
    """A column of `obs`."""
    if name not in obs.columns:
        raise ValueError(f"obs of {file} has no column {near_names(name, list(obs.columns))}")
    values = obs[name]
    label = f"column {name!r} of obs of {file}"
    if missing := int(values.isna().sum()):
        raise ValueError(f"{label} has no value in {missing:,} of {len(values):,} cells")
    kind = values.dtype.kind if hasattr(values.dtype, "kind") else "O"
    if kind in "iuf" and not categorical:
        return Column(name, (), "int" if kind in "iu" else "float")
    if kind == "f":
        raise ValueError(f"{label} holds real numbers, not classes: make it a condition")
    distinct: Sequence[Untyped] = sorted(set(values), key=lambda v: v if kind in "iu" else str(v))
    if len(distinct) > _MAX_CLASSES:
        raise ValueError(f"{label} has {len(distinct):,} different values, which are no classes")
    dtype = {"i": "int", "u": "int", "b": "bool"}.get(kind, "string")
    names = ("False", "True") if dtype == "bool" else tuple(str(v) for v in distinct)
    return Column(name, names, dtype)


def _check_form(file: Path, names: tuple[str, ...], form: TableForm | None) -> None:
    """Raises ValueError if the genes are not those of the trained run."""
    if form is None or not form.columns:
        return
    expected = tuple(column.name for column in form.columns)
    if names != expected:
        raise ValueError(
            f"the model was trained on {len(expected)} genes, and {file} has {len(names)}, or in "
            "another order: select them by name, adata[:, names]"
        )
