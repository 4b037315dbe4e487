"""Result files: rows of earlier runs are kept, and the file is whole after each row."""

import json

import pytest

from benchmarks.records import measure_rows, read_rows


def as_table(record):
    return "".join(f"| {name} | {row['ms']} |\n" for name, row in record["rows"].items())


def test_rows_are_renewed_by_name_and_written_one_by_one(tmp_path, capsys):
    path = tmp_path / "results" / "steps.json"
    measure_rows(path, "rows", ["a", "b"], lambda name: {"ms": ord(name)}, as_table, unit="ms")
    assert "[2/2] b" in capsys.readouterr().out

    def measure(name):
        if name == "d":
            raise KeyboardInterrupt
        return {"ms": 1}

    with pytest.raises(KeyboardInterrupt):
        measure_rows(path, "rows", ["b", "c", "d"], measure, as_table, unit="ms")
    record = json.loads(path.read_text())
    assert {name: row["ms"] for name, row in record["rows"].items()} == {"a": 97, "b": 1, "c": 1}
    assert record["unit"] == "ms"
    assert all(row["commit"] == record["commit"] for row in record["rows"].values())
    assert path.with_suffix(".md").read_text() == "| a | 97 |\n| b | 1 |\n| c | 1 |\n"


def test_without_a_file_there_are_no_rows(tmp_path):
    assert read_rows(tmp_path / "none.json", "rows") == {}
