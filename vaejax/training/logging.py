"""Output of a run's metrics: `metrics.jsonl`, TensorBoard, a progress line, a table."""

import contextlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import jax

from vaejax.core.append import AppendedFile
from vaejax.core.files import finite_or_null, make_folder, write_text
from vaejax.core.paths import local_copies
from vaejax.core.types import Options, Setting
from vaejax.training.tensorboard import EventFile
from vaejax.training.trackers import Trackers

__all__ = ["Log", "Progress", "read_records", "table", "write_results"]


def read_records(path: Path) -> list[dict[str, Setting]]:
    """The records of a `metrics.jsonl`, without a last line that a crash truncated.

    Raises:
      ValueError: another line is damaged.
    """
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            if not isinstance(record.get("step"), int):
                raise ValueError("no step")
        except (ValueError, AttributeError):
            raise ValueError(
                f"line {number} of {path} is damaged and cannot be read; delete that line to go on "
                "without its record"
            ) from None
        records.append(record)
    return records


class Log:
    """Appends records to `metrics.jsonl`, to TensorBoard files in `tb/`, and to trackers.

    Opening it at a step removes the records of later steps, so that an interrupted and resumed run
    leaves the same file as an uninterrupted one.
    """

    def __init__(self, workdir: Path, step: int, trackers: Trackers | None = None) -> None:
        self._path = workdir / "metrics.jsonl"
        make_folder(workdir)
        kept = [r for r in read_records(self._path) if r["step"] <= step]
        write_text(self._path, "".join(json.dumps(r) + "\n" for r in kept))
        self._file = AppendedFile(self._path)
        self._trackers = trackers or Trackers()
        self._tensorboard: EventFile | None = None
        if self._trackers.tensorboard:
            self._tensorboard = EventFile(workdir / "tb", purge_step=step + 1)

    def write(
        self,
        step: int,
        split: str,
        metrics: Mapping[str, float],
        identity: Options | None = None,
    ) -> None:
        """Writes one line to the file, and one point per metric to TensorBoard and the trackers.

        Args:
          step: number of steps taken.
          split: of the data.
          metrics: by name; a number that is not finite becomes null.
          identity: further fields of the line that identify a model of a sweep, among them `model`.
        """
        record = {"step": step, "split": split, **(identity or {}), **metrics}
        line = json.dumps(finite_or_null(record), allow_nan=False) + "\n"
        self._file.write(line)
        group = f"{split}/{identity['model']}" if identity else split
        self.write_points(step, {f"{group}/{name}": v for name, v in metrics.items()})

    def write_points(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes no line, only points: numbers that differ between equal runs, such as rates."""
        if self._tensorboard:
            for name, value in metrics.items():
                self._tensorboard.add_scalar(name, value, step)
        self._trackers.scalars(step, metrics)

    def flush(self) -> None:
        """Writes everything to disk."""
        self._file.flush()
        if self._tensorboard:
            self._tensorboard.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        try:
            self.flush()
        finally:
            for file in (self._file, self._tensorboard):
                with contextlib.suppress(OSError):  # `flush` has raised it
                    if file:
                        file.close()


class Progress:
    """A line with step, rate, metrics and remaining time, redrawn in place on a terminal."""

    def __init__(self, total: int, start: int) -> None:
        from tqdm import tqdm

        interval = 0.5 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(
            total=total, initial=start, unit="step", mininterval=interval, dynamic_ncols=True
        )

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Advances to `step` and shows the main metrics."""
        shown = {k: metrics[k] for k in ("elbo", "nll", "kl", "mse", "perplexity") if k in metrics}
        self._bar.set_postfix({k: f"{v:.4g}" for k, v in shown.items()}, refresh=False)
        self._bar.update(step - self._bar.n)

    def close(self) -> None:
        """Ends the line."""
        self._bar.close()


def write_results(
    workdir: Path, step: int, metrics: Mapping[str, float], trackers: Trackers
) -> None:
    """Writes the final metrics and the figures of a run to TensorBoard and the trackers.

    Only the first process does.

    Args:
      workdir: of the run, with `figures/`.
      step: number of steps taken.
      metrics: of the final evaluation.
      trackers: of the run.
    """
    if jax.process_index() > 0:
        return
    figures = sorted((workdir / "figures").glob("*.png"))
    numbers = {name: float(value) for name, value in metrics.items()}
    if trackers.tensorboard:
        events = EventFile(workdir / "tb", purge_step=step + 1)
        rows = "".join(f"| {name} | {value:.6g} |\n" for name, value in sorted(numbers.items()))
        events.add_text("final", f"| metric | value |\n|---|---|\n{rows}", step)
        for name, value in numbers.items():
            events.add_scalar(f"final/{name}", value, step)
        for path in figures:
            events.add_png(f"figures/{path.stem}", path, step)
        events.close()
    with local_copies(figures) as files:
        trackers.results(step, numbers, files)


def table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """A text table of two columns, name and value."""
    cells = [(name, f"{v:.6g}" if isinstance(v, float) else str(v)) for name, v in rows]
    left = max((len(name) for name, _ in cells), default=0)
    right = max((len(value) for _, value in cells), default=0)
    rule = "─" * (left + right + 4)
    lines = [f"  {name:<{left}}  {value:>{right}}" for name, value in cells]
    return "\n".join([title, rule, *lines, rule])
