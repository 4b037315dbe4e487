"""Opens the trackers that a config names; a resumed run goes on in the same runs of theirs."""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import jax

from vaejax.core.files import read_json, write_json
from vaejax.core.registry import near_names
from vaejax.core.types import Options, Setting
from vaejax.training.trackers.trackers import Target, Tracker, Trackers, warns_of_failure

__all__ = ["FILE", "check_trackers", "open_trackers"]

FILE = "trackers.json"  # tracker -> the id of its run
_TENSORBOARD = "tensorboard"
# Tracker -> the package that it needs, and the module here, whose `open_run` opens a `Target`.
_TRACKERS = {
    "wandb": ("wandb", "vaejax.training.trackers.wandb_run"),
    "mlflow": ("mlflow", "vaejax.training.trackers.mlflow_run"),
    "trackio": ("trackio", "vaejax.training.trackers.trackio_run"),
}


def _names(to: str) -> list[str]:
    return [name.strip() for name in to.split(",") if name.strip()]


def check_trackers(to: str) -> None:
    """Checks `log.to` of a config.

    Args:
      to: names, separated by commas.

    Raises:
      ValueError: a name is unknown.
      ImportError: a package is missing.
    """
    known = (_TENSORBOARD, *_TRACKERS)
    for name in _names(to):
        if name not in known:
            raise ValueError(f"log.to: unknown tracker {near_names(name, known)}")
    for name in _names(to):
        if name in _TRACKERS and importlib.util.find_spec(_TRACKERS[name][0]) is None:
            raise ImportError(
                f"log.to={to} needs a package that is missing: pip install 'vaejax[{name}]'"
            )


def open_trackers(log: Options, workdir: Path, config: Mapping[str, Setting]) -> Trackers:
    """The trackers of a run, on the first process; none on the others.

    Args:
      log: the section `log` of a config: `to`, `project`, `name`.
      workdir: of the run, which holds the ids of their runs.
      config: of the run, flat.
    """
    names = _names(log["to"])
    tensorboard = _TENSORBOARD in names
    if jax.process_index() > 0:
        return Trackers(tensorboard=tensorboard)
    path = workdir / FILE
    ids: dict[str, Setting] = read_json(path) if path.exists() else {}
    opened: dict[str, Tracker] = {}
    for name in dict.fromkeys(n for n in names if n in _TRACKERS):
        title = log["name"] or workdir.name
        target = Target(workdir, log["project"], title, ids.get(name), config)
        with warns_of_failure(name):
            opened[name] = importlib.import_module(_TRACKERS[name][1]).open_run(target)
            ids[name] = opened[name].run_id
    if opened:
        write_json(path, ids)
    return Trackers(opened, tensorboard=tensorboard)
