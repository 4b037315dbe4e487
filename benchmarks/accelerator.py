"""Everything that a short lease of an accelerator allows, in order of value.

  python -m benchmarks.accelerator --minutes=8 [--workdir=runs/accelerator] [--list]

Each part is a command of its own. A part starts only if its usual time is left, and is stopped at
the end of `--minutes`; the record is written after every part. The same command, started again, for
example on the next lease, goes on with the parts that are not finished at this commit; a training
resumes from its checkpoint. Results go where each benchmark puts them. Writes
`results/accelerator-<device>.json`: for each part its command, state, seconds and last lines.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from absl import app, flags

from .lease import PARTS, Part, remaining
from .machine import device_name, machine
from .paths import result_path, write_json

__all__ = ["main"]

_MINUTES = flags.DEFINE_float("minutes", 8.0, "Time for all parts.", lower_bound=0.1)
_WORKDIR = flags.DEFINE_string("workdir", "runs/accelerator", "Of the trainings.")
_LIST = flags.DEFINE_bool("list", False, "Print the parts that are left, and stop.")
_LINES = 15  # of the output of a part that the record keeps


def _run(part: Part, seconds: float) -> dict[str, Any]:
    """Runs a part for at most `seconds`."""
    arguments = [argument.format(workdir=_WORKDIR.value) for argument in part.arguments]
    command = [sys.executable, "-m", part.module, *arguments]
    # Several processes share the memory of an accelerator; half of the parts are tests.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    start, state = time.monotonic(), "finished"
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        state = "finished" if process.returncode == 0 else f"exit code {process.returncode}"
    except subprocess.TimeoutExpired:
        process.terminate()  # a training saves
        try:
            output, _ = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        state = "stopped"
    return {
        "command": " ".join(["python", *command[1:]]),
        "state": state,
        "seconds": time.monotonic() - start,
        "output": output.splitlines()[-_LINES:],
    }


def main(argv: list[str]) -> None:
    """Runs the parts that are left and time allows."""
    del argv
    here, end = machine(), time.monotonic() + 60 * _MINUTES.value
    path = result_path(f"accelerator-{device_name()}.json")
    parts = json.loads(path.read_text())["parts"] if path.exists() else {}
    left = remaining(PARTS, parts, str(here["commit"]))
    if _LIST.value:
        print("\n".join(f"{name}: {part.minutes:g} minutes" for name, part in left.items()))
        return
    Path(_WORKDIR.value).mkdir(parents=True, exist_ok=True)
    for name, part in left.items():
        seconds = end - time.monotonic()
        if seconds < 60 * part.minutes:
            print(f"{name}: left out, {seconds / 60:.1f} minutes are left", flush=True)
            continue
        print(f"{name} ...", flush=True)
        parts[name] = {**_run(part, seconds), "commit": here["commit"]}
        print(f"    {parts[name]['state']} after {parts[name]['seconds']:.0f} s", flush=True)
        write_json(path, {**here, "parts": parts})
    print(f"Wrote {path}.")


if __name__ == "__main__":
    app.run(main)
