"""CSV and Parquet files as batches of rows, by pyarrow; what cannot be read is one line."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from vaejax.core.types import Setting, Untyped

__all__ = ["ArrowFile", "csv_file", "parquet_file"]

_BLOCK = 2**26  # bytes of a CSV file whose types are inferred at once
_HEADER = 2**20  # bytes read for the names of the columns
_BATCH = 2**16  # rows of a Parquet file
_DELIMITERS = ",;\t|"
_WIDER = {"null": "int64", "bool": "string", "int64": "double"}  # all others become strings
_CONVERSION = re.compile(r"In CSV column #(\d+): .*?CSV conversion error to ([\w\[\]]+)")


@dataclasses.dataclass(frozen=True)
class ArrowFile:
    """A file of rows with named columns.

    Attributes:
      path: of the file.
      names: of its columns, without white space around them.
      max_bytes: an upper bound of the bytes of its values as float32.
      read: the file's options, see `batches`.
    """

    path: Path
    names: tuple[str, ...]
    max_bytes: int
    read: Untyped

    def batches(self) -> Iterator[Untyped]:
        """Record batches of pyarrow with all rows, in order.

        Raises:
          ValueError: the file is damaged.
        """
        with _one_line_errors(self.path):
            yield from self.read()


def _import_pyarrow() -> Untyped:
    try:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "csv:PATH and parquet:PATH need pyarrow, which is not installed: "
            "pip install 'vaejax[tables]'"
        ) from error
    return pa


class _one_line_errors:  # noqa: N801  a context manager
    """Turns whatever a damaged file raises into a ValueError of one line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Untyped, error: Untyped, trace: Untyped) -> None:
        if isinstance(error, Exception) and not isinstance(error, _RefusedError):
            text = " ".join(str(error).split()) or type(error).__name__
            hint = ""
            if "out of sync" in text or "straddling" in text:
                hint = ": values of several lines are not read, or a quote is missing"
            elif "utf" in text.lower():
                hint = ": save it as UTF-8"
            text = text if len(text) <= 300 else f"{text[:300]} ..."
            raise ValueError(f"cannot read {self._path}: {text}{hint}") from error


class _RefusedError(ValueError):
    """A file in an unsupported form."""


def _check_names(path: Path, names: list[str]) -> tuple[str, ...]:
    stripped = tuple(str(name).strip() for name in names)
    if not stripped:
        raise _RefusedError(f"{path} has no columns")
    for name in stripped:
        if stripped.count(name) > 1:
            raise _RefusedError(
                f"{path} has {stripped.count(name)} columns named {name!r}: names must differ"
            )
    return stripped


def csv_file(path: Path) -> ArrowFile:
    """A CSV file with a header; also `.tsv`, and compressed as `.csv.gz`.

    The delimiter is the one of comma, semicolon, tab and | that the header has most often. Missing
    values are pyarrow's: empty, NA, NaN, null, ...

    Raises:
      ImportError: pyarrow is not installed.
      ValueError: the file is empty, damaged, not UTF-8, or has no header.
    """
    pa = _import_pyarrow()
    with _one_line_errors(path):
        delimiter = _delimiter(pa, path)
        options: dict[str, Setting] = {"parse_options": pa.csv.ParseOptions(delimiter=delimiter)}
        first = pa.csv.ReadOptions(block_size=_HEADER)
        with pa.csv.open_csv(str(path), read_options=first, **options) as reader:
            stored = reader.schema.names
        names = _check_names(path, stored)
        _check_header(path, names)
    size, compressed = path.stat().st_size, path.suffix in (".gz", ".bz2", ".zst", ".lz4")
    types: dict[str, Setting] = {}

    def convert() -> Untyped:
        return pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True)

    options["read_options"] = pa.csv.ReadOptions(block_size=_BLOCK)

    def whole() -> Iterator[Untyped]:
        table = pa.csv.read_csv(str(path), convert_options=convert(), **options)
        yield from table.rename_columns(list(names)).to_batches()

    def blocks() -> Iterator[Untyped]:
        with pa.csv.open_csv(str(path), convert_options=convert(), **options) as reader:
            for batch in reader:
                yield batch.rename_columns(list(names))

    if size <= _BLOCK and not compressed:
        return ArrowFile(path, names, 2 * size, whole)
    with _one_line_errors(path):
        _find_types(pa, blocks, stored, types)
    # Each value has at least two characters, itself and a delimiter.
    return ArrowFile(path, names, 2 * size * (20 if compressed else 1), blocks)


def _delimiter(pa: Untyped, path: Path) -> str:
    """The delimiter that the first line has most often."""
    with pa.input_stream(str(path)) as stream:
        line = stream.read(2**16).partition(b"\n")[0]
    if not line.strip():
        raise _RefusedError(f"{path} is empty: expected a header with the names of the columns")
    if b"\0" in line:
        raise _RefusedError(f"{path} is not UTF-8 text: save it as CSV with the encoding UTF-8")
    counts = {d: line.count(d.encode()) for d in _DELIMITERS}
    return max(counts, key=lambda d: counts[d])


def _check_header(path: Path, names: tuple[str, ...]) -> None:
    """Raises ValueError if the first line holds values, or another delimiter."""

    def is_number(text: str) -> bool:
        try:
            float(text)
        except ValueError:
            return False
        return True

    if all(map(is_number, names)) and names != tuple(map(str, range(len(names)))):
        raise _RefusedError(
            f"the first line of {path} holds numbers ({', '.join(names)[:60]}): add a header with "
            "the names of the columns"
        )
    if len(names) == 1 and re.search(r"\S\s+\S+\s+\S|:", names[0]):
        raise _RefusedError(
            f"{path} has a single column, {names[0][:60]!r}: separate columns by commas, "
            "semicolons, tabs or |"
        )


def _find_types(pa: Untyped, blocks: Untyped, names: list[str], types: dict[str, Setting]) -> None:
    """Reads all blocks, and widens the types inferred from the first where others do not fit.

    Args:
      pa: pyarrow.
      blocks: reads the file with `types`.
      names: of the columns.
      types: of columns, filled in.
    """
    wider = {"int64": pa.int64(), "double": pa.float64(), "string": pa.string()}
    for _ in range(3 * len(names) + 1):
        try:
            for _ in blocks():
                pass
        except pa.ArrowInvalid as error:
            failed = _CONVERSION.search(" ".join(str(error).split()))
            if failed is None or failed[2] == "string":
                raise
            types[names[int(failed[1])]] = wider[_WIDER.get(failed[2], "string")]
        else:
            return


def parquet_file(path: Path) -> ArrowFile:
    """A Parquet file.

    Raises:
      ImportError: pyarrow is not installed.
      ValueError: the file is damaged, or not a Parquet file.
    """
    pa = _import_pyarrow()
    with _one_line_errors(path), pa.parquet.ParquetFile(path) as file:
        names = _check_names(path, file.schema_arrow.names)
        rows = file.metadata.num_rows

    def read() -> Iterator[Untyped]:
        with pa.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                yield batch.rename_columns(list(names))

    return ArrowFile(path, names, 4 * rows * len(names), read)
