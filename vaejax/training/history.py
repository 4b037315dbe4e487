"""The history of a run that goes on under other settings: `history.jsonl` in its directory.

Each line has the step from which on the new values hold, what changed, and the config before.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vaejax.core.files import write_text
from vaejax.core.registry import near_names
from vaejax.core.types import Json, Options, Setting
from vaejax.training.checkpoint_index import checkpoint_steps

__all__ = [
    "HISTORY",
    "check_allowed",
    "config_before",
    "is_changeable",
    "is_in",
    "read_history",
    "record_change",
]

HISTORY = "history.jsonl"

# Settings of the optimisation. They change neither parameters nor data.
_CHANGEABLE = ("players", "train", "freeze_groups", "data.condition_dropout")


def is_in(name: str, fields: Iterable[str]) -> bool:
    """Whether a dotted name is one of the fields, or a part of one."""
    return any(name == field or name.startswith(f"{field}.") for field in fields)


def is_changeable(name: str) -> bool:
    """Whether a run can go on under another value of a field."""
    return is_in(name, _CHANGEABLE)


def check_allowed(fields: Sequence[str], known: Iterable[str]) -> None:
    """Checks the fields of `--allow_change`.

    Args:
      fields: dotted names of fields or sections.
      known: dotted names of all fields.

    Raises:
      ValueError: a field does not exist, or decides shapes, data or the model.
    """
    names = [*known]
    for field in fields:
        if not any(is_in(name, [field]) for name in names):
            raise ValueError(f"--allow_change: the config has no field {near_names(field, names)}")
        if not is_changeable(field):
            raise ValueError(
                f"--allow_change={field}: a run cannot go on under another value of it; the fields "
                f"of {', '.join(_CHANGEABLE)} can change. Start another run with init_from"
            )


def read_history(workdir: Path) -> list[dict[str, Json]]:
    """The changes of a run, the earliest first; without a last line that a crash truncated."""
    path = workdir / HISTORY
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def record_change(
    workdir: Path, before: Options, changed: Mapping[str, tuple[Setting, Setting]]
) -> None:
    """Adds a change to the history; does nothing without one.

    Args:
      workdir: of the run.
      before: its config until now.
      changed: name -> (value before, value from now on).
    """
    if not changed:
        return
    step = max(checkpoint_steps(workdir / "checkpoints"), default=0)
    entry = {"step": step, "changed": changed, "before": before}
    lines = [json.dumps(line) for line in [*read_history(workdir), entry]]
    write_text(workdir / HISTORY, "".join(f"{line}\n" for line in lines))


def config_before(workdir: Path, step: int) -> dict[str, Json] | None:
    """The config under which a checkpoint was written; None if it is the present one.

    Args:
      workdir: of the run.
      step: of the checkpoint.
    """
    later = [entry for entry in read_history(workdir) if entry["step"] >= step]
    return dict(later[0]["before"]) if later else None
