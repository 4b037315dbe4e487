"""CSV and Parquet tables: numbers and categories as rows, read in batches."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vaejax.core.types import Setting, Untyped
from vaejax.data.columns import (
    Column,
    columns_from_json,
    columns_to_json,
    one_hot_columns,
)
from vaejax.data.load_options import LoadOptions
from vaejax.data.readers.arrow_files import ArrowFile, csv_file, parquet_file
from vaejax.data.readers.cache import load_or_build
from vaejax.data.readers.decoded_source import digest_of
from vaejax.data.readers.splits import EVAL_WORDS, SPLIT_WORDS, TRAIN_WORDS, spare_splits
from vaejax.data.readers.table_layout import TableLayout, choose_columns, layout_of, names_of
from vaejax.data.readers.table_scan import ColumnScan, numbers_of, scan_columns, trimmed
from vaejax.data.row_storage import allocate_rows, process_share
from vaejax.data.source import Rows, Source, decoder, hold_out, in_memory

__all__ = ["load_csv", "load_parquet", "table_spare_splits"]

_SUFFIXES = {
    "csv": (".csv", ".tsv", ".tab", ".txt", ".csv.gz", ".tsv.gz"),
    "parquet": (".parquet", ".pq"),
}
_LAYOUT = "layout"  # of the stored rows: the columns as JSON
_VERSION = 1  # increase when the stored rows change


def load_csv(path: str, options: LoadOptions) -> Source:
    """A CSV file with a header, or a folder of such files.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: pyarrow is not installed.
      ValueError: a file is damaged, or its columns cannot be modelled.
    """
    return _load("csv", path, options)


def load_parquet(path: str, options: LoadOptions) -> Source:
    """A Parquet file, or a folder of such files.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: pyarrow is not installed.
      ValueError: a file is damaged, or its columns cannot be modelled.
    """
    return _load("parquet", path, options)


def _load(kind: str, path: str, options: LoadOptions) -> Source:
    paths = _files_of(Path(path).expanduser(), _SUFFIXES[kind], kind)
    open_file = csv_file if kind == "csv" else parquet_file
    parts = {part: [open_file(file) for file in files] for part, files in paths.items()}
    files = [file for group in parts.values() for file in group]
    share = process_share(options.max_resident_bytes)
    large = sum(file.max_bytes for file in files) > share
    if large:  # converted once, and mapped into memory
        identity = [_VERSION, _settings(options), *(_state_of(file.path) for file in files)]
        name = f"{kind}-{digest_of(identity)}"
        rows = load_or_build(name, lambda: _read(files, options, on_disk=True))
    else:
        rows = _read(files, options, on_disk=False)
    rows = dict(rows)
    layout, counts = _from_bytes(rows.pop(_LAYOUT))
    remaining = iter(counts)
    sizes = {part: sum(next(remaining) for _ in group) for part, group in parts.items()}
    return _source(rows, layout, sizes, options)


def _files_of(path: Path, suffixes: Sequence[str], kind: str) -> dict[str, list[Path]]:
    """The files of each split; one split `''` if names of files name no splits."""
    if path.is_file():
        return {"": [path]}
    if not path.is_dir():
        raise FileNotFoundError(f"no file {path}: {kind}:PATH needs a file ({suffixes[0]})")
    files = sorted(p for p in path.iterdir() if p.name.lower().endswith(tuple(suffixes)))
    if not files:
        raise FileNotFoundError(f"{path} holds no files {', '.join(suffixes)}")
    parts: dict[str, list[Path]] = {}
    for file in files:
        word = file.name.partition(".")[0].lower()
        word = "train" if word in TRAIN_WORDS else word if word in SPLIT_WORDS else ""
        parts.setdefault(word, []).append(file)
    if list(parts) != [""] and ("" in parts or "train" not in parts):
        raise ValueError(
            f"either all files of {path} must be named by a split, including train, or none; found "
            f"{', '.join(file.name for file in files[:5])}"
        )
    return dict(sorted(parts.items(), key=lambda part: part[0] != "train"))


def table_spare_splits(path: str, options: LoadOptions) -> tuple[str, ...]:
    """The names of the splits of a folder that are used neither as 'train' nor as 'eval'."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return ()
    kind = options.source.partition(":")[0]
    return spare_splits(_files_of(folder, _SUFFIXES[kind], kind))


def _state_of(path: Path) -> list[Untyped]:
    state = path.stat()
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def _settings(options: LoadOptions) -> list[Untyped]:
    form = options.form
    named = [options.label, options.condition, options.categories, options.drop, options.missing]
    return [*named, form and [*map(repr, form)]]


def _read(files: Sequence[ArrowFile], options: LoadOptions, *, on_disk: bool) -> Rows:
    """All rows as arrays, in two passes: one for the columns, one for the values."""
    name = options.source
    first = files[0]
    for file in files[1:]:
        if set(file.names) != set(first.names):
            differing = sorted(set(file.names) ^ set(first.names))
            raise ValueError(
                f"{first.path.name} and {file.path.name} of {name} differ in their columns: "
                f"{differing[0]!r} is in one alone"
            )
    chosen = choose_columns(name, first.names, options)
    used = dict.fromkeys((*chosen.modelled, *chosen.condition, chosen.label))
    known = () if options.form is None else (*options.form.columns, *options.form.condition_columns)
    classes = {
        chosen.label,
        *names_of(options.categories),
        *(c.name for c in known if c.categories),
    }
    scans = {column: ColumnScan(column, as_classes=column in classes) for column in used if column}
    counts = []
    for file in files:
        count = 0
        for batch in file.batches():
            scan_columns(scans, batch)
            count += batch.num_rows
        counts.append(count)
    layout = layout_of(name, chosen, scans, options)
    total, masked = sum(counts), options.missing == "mask"
    rows = allocate_rows(_shapes(layout, total, masked=masked), on_disk=on_disk)
    start = 0
    for batch in _batches(files):
        _fill(rows, batch, layout, slice(start, start + batch.num_rows))
        start += batch.num_rows
    if start != total:
        raise ValueError(f"the files of {name} changed while they were read")
    return {**rows, _LAYOUT: _to_bytes(layout, counts)}


def _batches(files: Sequence[ArrowFile]) -> Iterator[Untyped]:
    for file in files:
        yield from file.batches()


def _shapes(
    layout: TableLayout, total: int, *, masked: bool
) -> dict[str, tuple[tuple[int, ...], Untyped]]:
    """Shape and type of each stored field."""
    shapes: dict[str, Setting] = {"vector": ((total, len(layout.modelled)), np.float32)}
    if layout.label is not None:
        shapes["label"] = ((total,), np.int32)
    if layout.condition:
        width = sum(max(1, len(column.categories)) for column in layout.condition)
        shapes["condition"] = ((total, width), np.float32)
    if masked:
        shapes["mask"] = shapes["vector"][0], np.bool_
    return shapes


def _fill(rows: Rows, batch: Untyped, layout: TableLayout, at: slice) -> None:
    """Writes the values of a batch to the rows `at`."""
    for position, column in enumerate(layout.modelled):
        values, present = _stored(batch.column(column.name), column)
        rows["vector"][at, position] = values
        if "mask" in rows:
            rows["mask"][at, position] = present
    if layout.label is not None:
        rows["label"][at] = _stored(batch.column(layout.label.name), layout.label)[0]
    if layout.condition:
        stored = [_stored(batch.column(column.name), column)[0] for column in layout.condition]
        rows["condition"][at] = one_hot_columns(layout.condition, np.stack(stored, axis=1))


def _stored(array: Untyped, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """The stored numbers of a column's values `[n]`, 0 where missing, and which are present.

    The first pass has checked them.
    """
    array = trimmed(array)
    if not column.categories:
        numbers = numbers_of(array)
        present = ~np.isnan(numbers)
        return np.where(present, numbers, 0.0).astype(np.float32), present
    position = {name: i for i, name in enumerate(column.categories)}
    encoded = array.dictionary_encode()
    values = [*encoded.dictionary.to_pylist(), None]
    missing = [value is None or value != value for value in values]
    names = [str(int(v)) if isinstance(v, float) and v == v else str(v) for v in values]
    stored = [0 if absent else position[n] for n, absent in zip(names, missing, strict=True)]
    indices = encoded.indices.fill_null(len(values) - 1).to_numpy()
    return np.array(stored, np.float32)[indices], ~np.array(missing)[indices]


def _to_bytes(layout: TableLayout, counts: Sequence[int]) -> np.ndarray:
    """The columns, and the number of rows of each file, as JSON in bytes."""
    label = () if layout.label is None else (layout.label,)
    columns = {"columns": layout.modelled, "condition": layout.condition, "label": label}
    stored = {"counts": list(counts)} | {k: columns_to_json(v) for k, v in columns.items()}
    return np.frombuffer(json.dumps(stored).encode(), np.uint8)


def _from_bytes(stored: np.ndarray) -> tuple[TableLayout, list[int]]:
    """The inverse of `_to_bytes`."""
    parsed = json.loads(stored.tobytes())
    read = {k: columns_from_json(parsed[k]) for k in ("columns", "condition", "label")}
    label = read["label"][0] if read["label"] else None
    return TableLayout(read["columns"], label, read["condition"]), parsed["counts"]


def _source(rows: Rows, layout: TableLayout, sizes: dict[str, int], options: LoadOptions) -> Source:
    """A split of all rows; `sizes` has the number of rows of each part, in their order."""
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()])[:-1].tolist(), strict=True))
    if list(sizes) == [""]:
        positions = hold_out(sizes[""], options.split, options.holdout)
    else:
        held_out = next((word for word in EVAL_WORDS if word in sizes), None)
        if held_out is None:
            raise ValueError(f"{options.source} has a training split, but no test split")
        part = {"train": "train", "eval": held_out, "validation": options.part}[options.split]
        positions = np.arange(starts[part], starts[part] + sizes[part])
        if not len(positions):
            raise ValueError(f"the {options.split} split of {options.source} has no rows")
    fields: dict[str, Setting] = {}
    if layout.label is not None:
        names = layout.label.categories
        fields["num_classes"] = len(names)
        plain = layout.label.dtype == "int" and names == tuple(map(str, range(len(names))))
        fields["class_names"] = None if plain else names
    return in_memory(
        rows,
        positions,
        max_resident_bytes=options.max_resident_bytes,
        name=options.source,
        split=options.split,
        decode=decoder(255.0),
        column_names=tuple(column.name for column in layout.modelled),
        columns=layout.modelled,
        condition_columns=layout.condition or None,
        **fields,
    )
