"""What a folder and a run's records hold, and the flag of a run without figures."""

import json

NO_FIGURES = "--config.evaluate.figures=False"


def contents(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def records_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
