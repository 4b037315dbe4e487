"""Time from the command to the end of the first step and of the first 20, and where it goes.

  python -m benchmarks.start [--families=beta_vae,vqvae] [--repeats=3]

For every config on its embedded data, in fresh processes: cold, with an empty cache of compiled
programs and of data, and warm, with what the cold one left. The record has the seconds of every
part: importing; tracing, lowering and compiling, as JAX reports them (with several threads their
sum may exceed the whole); reading the cache; the time until data and trainer are there. Of the
repeats that with the smallest total counts. `processor` is the processor time of the whole process:
it depends less on other load.

Writes `results/start-<device>.json` and a table `.md`, in which configs that are left out keep
their last measurements.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import app, flags

from .configured import FAMILIES
from .machine import device_name, environment_as_installed
from .paths import result_path
from .records import measure_rows

__all__ = ["as_table", "main"]

_FAMILIES = flags.DEFINE_list("families", list(FAMILIES), "Config files, FILE or FILE:SETTING.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Starts of each kind; the fastest counts.")
_PROBE = __spec__.name.replace("start", "first_step") if __spec__ else "benchmarks.first_step"
_FIRST = "until the end of the first step"  # on CPU
_TOTAL = "until the end of the steps"


def _start(name: str, cache: Path) -> dict[str, Any]:
    """One start of a config in a new process and a new working directory."""
    with tempfile.TemporaryDirectory() as workdir:
        file, _, setting = name.partition(":")
        config = f"--config=configs/{file}.py" + (f":{setting}" if setting else "")
        command = [sys.executable, "-m", _PROBE, str(time.time()), config, f"--workdir={workdir}"]
        environment = environment_as_installed(VAEJAX_CACHE=str(cache))
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


def _fastest(starts: list[dict[str, Any]]) -> dict[str, Any]:
    return min(starts, key=lambda record: record["parts"][_TOTAL])


def _measure(name: str) -> dict[str, Any]:
    """The fastest cold and the fastest warm start of a config."""
    cold, warm = [], []
    for _ in range(_REPEATS.value):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(_start(name, Path(cache)))
            warm.append(_start(name, Path(cache)))
    return {"cold": _fastest(cold), "warm": _fastest(warm)}


def _text(seconds: float) -> str:
    """With one decimal; nothing where it was not measured."""
    return "" if math.isnan(seconds) else f"{seconds:.1f}"


def as_table(record: dict[str, Any]) -> str:
    """The record as a Markdown table."""
    lines = [
        f"{record['device']}, {record['processor']}, {record['cores']} cores; jax {record['jax']}. "
        "Seconds from the command to the end of its first step and of its first 20.",
        "",
        "| config | first step, cold | warm | 20 steps, cold | warm | imports | to the trainer | "
        "tracing | lowering | compiling | programs | processor time, cold | warm | commit |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in record["families"].items():
        cold, warm = row["cold"], row["warm"]
        parts = cold["parts"]
        numbers = [
            parts.get(_FIRST, math.nan), warm["parts"].get(_FIRST, math.nan),
            parts[_TOTAL], warm["parts"][_TOTAL], parts["imports"], parts["until the trainer"],
            parts.get("tracing", 0.0), parts.get("lowering", 0.0), parts.get("compiling", 0.0),
        ]  # fmt: skip
        lines.append(
            f"| {name} | {' | '.join(map(_text, numbers))} | {cold['programs']} | "
            f"{cold['processor']:.1f} | {warm['processor']:.1f} | {row['commit']} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    path = result_path(f"start-{device_name()}.json")
    measure_rows(path, "families", _FAMILIES.value, _measure, as_table)


if __name__ == "__main__":
    app.run(main)
