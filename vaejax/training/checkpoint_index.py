"""Which checkpoints a directory has, and their metrics. Nothing on disk changes."""

import json
import math
import re
from pathlib import Path
from typing import Any

from vaejax.core.paths import failures, is_bucket
from vaejax.core.ranking import ELBO, Ranking
from vaejax.training.checkpoint_record import read_layout

__all__ = [
    "METRICS",
    "RECORD",
    "STATE",
    "best_step",
    "checkpoint_steps",
    "is_complete",
    "layout_at",
    "read_metrics",
]

METRICS = Path("metrics") / "metrics"
RECORD = Path("checksums") / "metadata"
STATE = Path("state")
_COMMITTED = "commit_success.txt"


def is_complete(folder: Path) -> bool:
    """Whether a checkpoint has its main files, as one that is being deleted may not."""
    return (folder / RECORD).is_file() and (folder / STATE / "_METADATA").is_file()


def checkpoint_steps(directory: Path) -> list[int]:
    """The steps of the checkpoints, ascending; older ones that are half-deleted left out."""
    folders = [f for f in directory.glob("*") if re.fullmatch("0|[1-9][0-9]*", f.name)]
    if is_bucket(directory):  # where a checkpoint that is being written has its final name
        folders = [f for f in folders if (f / _COMMITTED).exists()]
    newest = max((int(f.name) for f in folders), default=0)
    return sorted(int(f.name) for f in folders if int(f.name) == newest or is_complete(f))


def layout_at(directory: Path, step: int) -> dict[str, int]:
    """Processes and devices that wrote a checkpoint, see `layout_of`; `{}` if that is unknown."""
    try:
        return read_layout(directory / str(step) / RECORD)
    except (ValueError, OSError):
        return {}  # restoring says what is damaged


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """The metrics of a checkpoint's evaluation; `{}` without one; None if they are damaged."""
    try:
        metrics = json.loads((folder / METRICS).read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, failures(folder)):
        return None
    return metrics if isinstance(metrics, dict) else None


def best_step(directory: Path, by: Ranking = ELBO) -> int | None:
    """The step of the checkpoint with the best evaluation; None without evaluations.

    Args:
      directory: of the checkpoints.
      by: the metric.
    """
    scores = [
        (by.score(read_metrics(directory / str(s)) or {}), s) for s in checkpoint_steps(directory)
    ]
    value, step = max(scores, default=(-math.inf, None))
    return step if value > -math.inf else None
