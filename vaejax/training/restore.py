"""Opening a trained run from its working directory: config, family and parameters."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from vaejax.core.files import read_json
from vaejax.core.game import Batch, Family
from vaejax.core.plugins import import_plugins
from vaejax.core.ranking import ELBO, Ranking, ranking
from vaejax.core.sharding import check_batch, tree_sharding
from vaejax.core.types import Options, PyTree, Setting
from vaejax.data import Source
from vaejax.data.spec import DataSpec, spec_of
from vaejax.training.checkpoint_index import best_step, checkpoint_steps
from vaejax.training.checkpoint_reader import (
    CorruptCheckpointError,
    restore_changed,
    restore_checkpoint,
)
from vaejax.training.earlier_versions import completed
from vaejax.training.history import config_before
from vaejax.training.lock import FILE as LOCK
from vaejax.training.train_step import TrainState, init_state

__all__ = [
    "TrainedRun",
    "default_checkpoint",
    "open_run",
    "ranking_of",
    "read_config",
    "read_spec",
    "restore_state",
]

Config = Options

_SECTIONS = ("data", "model", "players", "train")
_DELETION_SECONDS = 3.0  # in which a training deletes a checkpoint


class TrainedRun(NamedTuple):
    """A run whose parameters are not read yet.

    Attributes:
      name: the config field and the directory of the run, for errors.
      config: of the run.
      family: the family that the config describes.
      spec: the form of its data.
      batch: shapes of a batch.
      like: shapes and shardings of the training state.
      restore: `step -> state` of a checkpoint, see `restore_state`; 0 for the
        `default_checkpoint` of the run.
    """

    name: str
    config: dict[str, Setting]
    family: Family
    spec: DataSpec
    batch: Batch
    like: TrainState
    restore: Callable[[int | str], TrainState]


def read_config(workdir: Path) -> dict[str, Setting]:
    """The config of a run; imports the modules and files that it lists in `imports`.

    The config of an earlier version has every field by its present name, see `earlier_versions`.

    Raises:
      FileNotFoundError: there is no run, or a file of `imports` is missing.
      ImportError: a module of `imports` is not installed.
      ValueError: `config.json` is damaged, or not of a run.
    """
    path = workdir / "config.json"
    if not (workdir / "checkpoints").is_dir():
        raise FileNotFoundError(
            f"{workdir} has no checkpoint; pass the --workdir of a finished run"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: start the command that trained the run once more, which writes it "
            "again"
        )
    config = completed(read_json(path))
    if missing := [name for name in _SECTIONS if not isinstance(config.get(name), dict)]:
        raise ValueError(f"{path} is not the config of a run: it has no section {missing[0]!r}")
    import_plugins(config.get("imports", ()))
    return config


def read_spec(
    workdir: Path, config: Config, load_split: Callable[[Config, str], Source]
) -> DataSpec:
    """The form of a run's data, from `data.json`, or from the data if the run has no such file.

    Raises:
      ValueError: `data.json` is damaged.
    """
    path = workdir / "data.json"
    if not path.is_file():
        return spec_of(load_split(config, "train"), config["data"]["binarize"])
    stored = read_json(path)
    try:
        return DataSpec.from_json(stored)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(
            f"{path} is damaged; delete it, and the form of the data is read from the data"
        ) from None


def default_checkpoint(config: Config) -> str:
    """The checkpoint that is used unless another one is named.

    Args:
      config: of the run, as in its `config.json`.

    Returns:
      `'best'` if there is a validation split, by which checkpoints are ranked, else `'latest'`:
      a choice by test data would report too good a value of them.
    """
    return "latest" if config["data"].get("validation", "none") == "none" else "best"


def ranking_of(config: Config) -> Ranking:
    """By which the checkpoints of a run are ranked.

    Raises:
      ValueError: as from `ranking`.
    """
    train = config["train"]
    return ranking(train.get("best_metric", "elbo"), train.get("best_direction", "auto"))


def restore_state(
    directory: Path, like: TrainState, step: int | str = 0, by: Ranking = ELBO
) -> TrainState:
    """The state of a checkpoint; changes nothing on disk.

    A training in the same directory may delete the checkpoint while it is read; then the newest (or
    best) of those that are left is read instead.

    Args:
      directory: of the checkpoints.
      like: shapes, dtypes and shardings of the state.
      step: of the checkpoint; 0 or `'latest'` for the newest, `'best'` for the one of the best
        evaluation (the newest, if none was evaluated).
      by: the metric of `'best'`.

    Raises:
      FileNotFoundError: no such checkpoint.
      CorruptCheckpointError: the checkpoint is damaged.
    """
    while True:
        steps = checkpoint_steps(directory)
        if not steps or (isinstance(step, int) and step and step not in steps):
            missing = f"no checkpoint of step {step}" if step and steps else "no checkpoint"
            raise FileNotFoundError(
                f"{directory.parent} has {missing}; its checkpoints are {steps}"
            )
        best = best_step(directory, by) if step == "best" else None
        chosen = best or (step if isinstance(step, int) and step else steps[-1])
        try:
            if config_before(directory.parent, chosen) is not None:
                return restore_changed(directory, like, chosen)
            return restore_checkpoint(directory, like, chosen)
        except CorruptCheckpointError:
            if not _is_being_deleted(directory, chosen):
                raise


def _is_being_deleted(directory: Path, step: int) -> bool:
    """Whether a training has just deleted a checkpoint, or is about to have."""
    waited = 0.0
    while waited < _DELETION_SECONDS:
        if step not in checkpoint_steps(directory) or not (directory / str(step)).exists():
            return True
        if not (directory.parent / LOCK).exists():
            return False
        time.sleep(0.1)
        waited += 0.1
    return False


def open_run(
    workdir: Path,
    mesh: Mesh,
    field: str,
    *,
    build: Callable[..., Family],
    load_split: Callable[[Config, str], Source],
    batch_size: int | None = None,
) -> TrainedRun:
    """The run of a working directory, without reading its parameters.

    Args:
      workdir: of the run.
      mesh: devices for the parameters.
      field: the config field that names the run, for errors.
      build: `(config, shape, dataset_info) -> family`.
      load_split: `(config, split) -> source`.
      batch_size: examples at once; None for the batch size of training.

    Raises:
      FileNotFoundError: no such run.
      ValueError: the devices of the mesh do not divide the batch size.
    """
    config = read_config(workdir)
    train = config["train"]
    size = batch_size or train["batch_size"]
    check_batch(mesh, size)
    spec = read_spec(workdir, config, load_split)
    family = build(config, spec.event_shape, spec.dataset_info())
    batch = spec.batch(size)
    shape = jax.eval_shape(
        lambda b: init_state(family, config["seed"], b, train["ema_decay"]), batch
    )
    like = jax.tree.map(
        lambda s, at: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=at),
        shape,
        tree_sharding(mesh, shape),
    )

    def restore(step: int | str = 0) -> TrainState:
        step = step or default_checkpoint(config)
        return restore_state(workdir / "checkpoints", like, step, ranking_of(config))

    shapes: PyTree = batch
    return TrainedRun(f"{field}={workdir}", config, family, spec, shapes, like, restore)
