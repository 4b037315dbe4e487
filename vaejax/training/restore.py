"""A trained run, found again by its working directory: its config, family and parameters."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from vaejax.core.game import Batch, Family
from vaejax.core.rng import DATA, key_of
from vaejax.core.sharding import check_batch, tree_sharding
from vaejax.data import Source
from vaejax.data.batches import batch_indices
from vaejax.data.preprocess import event_shape, facts, preparation
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.train_step import TrainState, init_state

Config = Mapping[str, Any]


class TrainedRun(NamedTuple):
    """A run whose parameters are still in its files.

    Attributes:
      name: what asked for it and its directory, for errors.
      config: of the run.
      family: that it describes.
      batch: of its training, in shapes.
      like: the state, in shapes and shardings.
      restore: `step -> state` of that checkpoint, of the newest at 0.
    """

    name: str
    config: dict[str, Any]
    family: Family
    batch: Batch
    like: TrainState
    restore: Callable[[int], TrainState]


def read_config(workdir: Path, asked_by: str) -> dict[str, Any]:
    """The configuration of a run.

    Raises:
      FileNotFoundError: there is no run.
    """
    path = workdir / "config.json"
    if not path.is_file() or not (workdir / "checkpoints").is_dir():
        raise FileNotFoundError(
            f"{asked_by}={workdir} is no trained run: --config.{asked_by} wants the --workdir of "
            "one"
        )
    return json.loads(path.read_text())


def open_run(
    workdir: Path,
    mesh: Mesh,
    asked_by: str,
    *,
    build: Callable[..., Family],
    load_split: Callable[[Config, str], Source],
) -> TrainedRun:
    """The run of a working directory, before its parameters are read.

    Args:
      workdir: of the run.
      mesh: where the parameters shall be.
      asked_by: the field of a config that names the run, for errors.
      build: `(config, shape, facts) -> family`.
      load_split: `(config, split) -> its data`.

    Raises:
      FileNotFoundError: there is no such run; when restored, no such checkpoint.
      ValueError: its batches cannot be spread over the mesh.
    """
    config = read_config(workdir, asked_by)
    seed, train = config["seed"], config["train"]
    check_batch(mesh, train["batch_size"])
    source = load_split(config, "train")
    family = build(config, event_shape(source), facts(source))
    rows = source.take(batch_indices(seed, 0, source.size, train["batch_size"]))
    prepare = preparation(source, config["data"]["binarize"])
    batch = jax.eval_shape(lambda rows: prepare(rows, key_of(seed, DATA)), rows)
    shape = jax.eval_shape(lambda b: init_state(family, seed, b, train["ema_decay"]), batch)
    sharding = tree_sharding(mesh, shape)
    like = jax.tree.map(
        lambda s, at: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=at), shape, sharding
    )
    name = f"{asked_by}={workdir}"

    def restore(step: int = 0) -> TrainState:
        checkpoints = Checkpoints(workdir / "checkpoints")
        try:
            found = checkpoints.steps()
            if not found or (step and step not in found):
                wanted = f"no checkpoint of step {step}" if step else "no checkpoint"
                raise FileNotFoundError(f"{name} holds {wanted}; found are {found}")
            return checkpoints.restore(like, step or None)
        finally:
            checkpoints.close()

    return TrainedRun(name, config, family, batch, like, restore)
