"""Result files of benchmarks: a record in JSON and its table in Markdown."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vaejax.core.files import write_text

from .machine import machine
from .paths import write_json

__all__ = ["measure_rows", "read_rows", "write_record"]


def read_rows(path: Path, group: str) -> Any:
    """The rows under `group` that an earlier run wrote; {} if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8"))[group] if path.exists() else {}


def write_record(path: Path, record: dict[str, Any], table: str) -> None:
    """Writes a record to `path` and its table beside it, as `.md`."""
    write_json(path, record)
    write_text(path.with_suffix(".md"), table)


def measure_rows(
    path: Path,
    group: str,
    names: Sequence[str],
    measure: Callable[[str], dict[str, Any]],
    as_table: Callable[[dict[str, Any]], str],
    **about: Any,
) -> None:
    """Measures one row for each name, prints it, and writes the record after each.

    Rows that an earlier run wrote under other names are kept; each row has the commit at which it
    was measured.

    Args:
      path: the record's file; the table is written beside it.
      group: key of the rows in the record.
      names: the rows to measure.
      measure: a row of a name.
      as_table: the record's table in Markdown.
      **about: what else the record says, beside the machine.
    """
    record: dict[str, Any] = {**machine(), **about, group: read_rows(path, group)}
    for number, name in enumerate(names, start=1):
        print(f"[{number}/{len(names)}] {name} ...", flush=True)
        row = {**measure(name), "commit": record["commit"]}
        record[group][name] = row
        print(f"    {json.dumps(row)}", flush=True)
        write_record(path, record, as_table(record))
    print("\n" + as_table(record))
