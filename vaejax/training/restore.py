"""Opening a trained run from its working directory: config, family and parameters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from vaejax.core.game import Batch, Family
from vaejax.core.plugins import import_plugins
from vaejax.core.sharding import check_batch, tree_sharding
from vaejax.core.types import Options, PyTree, Setting
from vaejax.data import Source
from vaejax.data.spec import DataSpec, spec_of
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.train_step import TrainState, init_state

__all__ = ["TrainedRun", "open_run", "read_config", "read_spec", "restore_state"]

Config = Options


class TrainedRun(NamedTuple):
    """A run whose parameters are not read yet.

    Attributes:
      name: the config field and the directory of the run, for errors.
      config: of the run.
      family: the family that the config describes.
      spec: the form of its data.
      batch: shapes of a batch.
      like: shapes and shardings of the training state.
      restore: `step -> state` of a checkpoint; 0 for the newest.
    """

    name: str
    config: dict[str, Setting]
    family: Family
    spec: DataSpec
    batch: Batch
    like: TrainState
    restore: Callable[[int], TrainState]


def read_config(workdir: Path) -> dict[str, Setting]:
    """The config of a run; imports the modules and files that it lists in `imports`.

    Raises:
      FileNotFoundError: there is no run, or a file of `imports` is missing.
      ImportError: a module of `imports` is not installed.
    """
    path = workdir / "config.json"
    if not path.is_file() or not (workdir / "checkpoints").is_dir():
        raise FileNotFoundError(
            f"{workdir} has no checkpoint; pass the --workdir of a finished run"
        )
    config = json.loads(path.read_text(encoding="utf-8"))
    import_plugins(config.get("imports", ()))
    return config


def read_spec(
    workdir: Path, config: Config, load_split: Callable[[Config, str], Source]
) -> DataSpec:
    """The form of a run's data, from `data.json`, or from the data if the run has no such file."""
    path = workdir / "data.json"
    if path.is_file():
        return DataSpec.from_json(json.loads(path.read_text(encoding="utf-8")))
    return spec_of(load_split(config, "train"), config["data"]["binarize"])


def restore_state(directory: Path, like: TrainState, step: int = 0) -> TrainState:
    """The state of a checkpoint; changes nothing on disk.

    Args:
      directory: of the checkpoints.
      like: shapes, dtypes and shardings of the state.
      step: of the checkpoint; 0 for the newest.

    Raises:
      FileNotFoundError: no such checkpoint.
      CorruptCheckpointError: the checkpoint is damaged.
    """
    checkpoints = Checkpoints(directory, read_only=True)
    try:
        steps = checkpoints.steps()
        if not steps or (step and step not in steps):
            missing = f"no checkpoint of step {step}" if step else "no checkpoint"
            raise FileNotFoundError(
                f"{directory.parent} has {missing}; its checkpoints are {steps}"
            )
        return checkpoints.restore(like, step or None)
    finally:
        checkpoints.close()


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

    def restore(step: int = 0) -> TrainState:
        return restore_state(workdir / "checkpoints", like, step)

    shapes: PyTree = batch
    return TrainedRun(f"{field}={workdir}", config, family, spec, shapes, like, restore)
