"""Where a run's numbers go: `metrics.jsonl`, TensorBoard, one line of progress, a table."""

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a `metrics.jsonl`; a last line cut off by a crash is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Log:
    """Appends records to `metrics.jsonl` and to TensorBoard files in `tb/`.

    Opened at a step, it first forgets what was written of later ones, so that a run which is
    killed and goes on from its last checkpoint leaves the same file as one that was not.
    """

    def __init__(self, workdir: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self._path = workdir / "metrics.jsonl"
        kept = [r for r in read_records(self._path) if r["step"] <= step]
        temporary = self._path.with_name("metrics.jsonl.tmp")
        temporary.write_text("".join(json.dumps(r) + "\n" for r in kept))
        temporary.replace(self._path)
        self._file = self._path.open("a")
        self._board = SummaryWriter(str(workdir / "tb"), purge_step=step + 1)

    def write(
        self,
        step: int,
        split: str,
        figures: Mapping[str, float],
        of: Mapping[str, Any] | None = None,
    ) -> None:
        """One line, and one point a figure. A number that is not finite becomes null.

        Of a sweep, `of` says which model it is about; the line holds all that it says.
        """
        clean = {k: v if math.isfinite(v) else None for k, v in figures.items()}
        self._file.write(json.dumps({"step": step, "split": split, **(of or {}), **clean}) + "\n")
        where = f"{split}/{of['model']}" if of else split
        self.board(step, {f"{where}/{name}": value for name, value in figures.items()})

    def board(self, step: int, figures: Mapping[str, float]) -> None:
        """Points for TensorBoard only: what differs between two equal runs, such as rates."""
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Brings all that was written to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._board.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        self.flush()
        self._file.close()
        self._board.close()


class Progress:
    """One line: step, rate, loss, time left. On a terminal it is redrawn in place."""

    def __init__(self, total: int, start: int) -> None:
        from tqdm import tqdm

        interval = 0.5 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(
            total=total, initial=start, unit="step", mininterval=interval, dynamic_ncols=True
        )
        self._began, self._start = time.perf_counter(), start

    def update(self, step: int, figures: Mapping[str, float]) -> None:
        """Moves to `step`, showing the figures that tell most."""
        shown = {k: figures[k] for k in ("elbo", "nll", "kl", "mse", "perplexity") if k in figures}
        self._bar.set_postfix({k: f"{v:.4g}" for k, v in shown.items()}, refresh=False)
        self._bar.update(step - self._bar.n)

    def rate(self) -> float:
        """Steps per second since the beginning."""
        return (self._bar.n - self._start) / max(time.perf_counter() - self._began, 1e-9)

    def close(self) -> None:
        """Ends the line."""
        self._bar.close()


def table(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    """A readable table of two columns."""
    rows = [(name, f"{v:.6g}" if isinstance(v, float) else str(v)) for name, v in rows]
    left = max((len(name) for name, _ in rows), default=0)
    right = max((len(value) for _, value in rows), default=0)
    rule = "─" * (left + right + 4)
    lines = [f"  {name:<{left}}  {value:>{right}}" for name, value in rows]
    return "\n".join([title, rule, *lines, rule])
