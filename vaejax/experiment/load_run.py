"""Opens a trained run by its working directory."""

from pathlib import Path

import jax
from jax.sharding import Mesh

from vaejax.core.paths import as_path, check_reachable
from vaejax.core.sharding import check_batch, make_mesh, tree_sharding
from vaejax.core.types import Options
from vaejax.experiment.build import build, load_split
from vaejax.experiment.fingerprint import check_first_stage
from vaejax.experiment.second_stage import FOLDER, PARENT, has_second_stage, trained_for
from vaejax.experiment.trained_model import Run
from vaejax.training.checkpoint_index import best_step, checkpoint_steps
from vaejax.training.restore import (
    default_checkpoint,
    open_run,
    ranking_of,
    read_config,
    restore_state,
)
from vaejax.training.train_step import eval_params, init_state
from vaejax.training.two_stage import restore as restore_first_stage

__all__ = ["load_run"]


def load_run(
    workdir: str | Path,
    checkpoint: str | int = "auto",
    *,
    mesh: Mesh | None = None,
    batch_size: int | None = None,
    second_stage: bool = True,
) -> Run:
    """Opens a trained run by its working directory. Nothing on disk changes.

    A run with a second stage, once that is trained, is opened as one model of both stages; then
    `checkpoint` is that of the second stage.

    Args:
      workdir: the `--workdir` of a run, or of one model of a sweep (`models/N` in it).
      checkpoint: `'latest'`; `'best'`, the kept one with the best evaluation by
        `train.best_metric`; a step; or `'auto'` for the best if the run has a validation split,
        else the latest. `Run.checkpoint` says which it is.
      mesh: the devices, see `vaejax.make_mesh`; None for one device.
      batch_size: examples at once; None for that of training.
      second_stage: False for the first stage alone.

    Raises:
      FileNotFoundError: there is no run, or no such checkpoint.
      ValueError: the checkpoint is neither of these, or the directory is that of a sweep.
      ImportError: the run needs a package or file that is missing.
    """
    workdir, mesh = as_path(workdir), make_mesh(1) if mesh is None else mesh
    check_reachable(workdir)
    config = read_config(workdir)
    if "sweep" in config:
        raise ValueError(
            f"{workdir} holds a sweep; --config.sweep.index=N --mode=evaluate makes model N a run "
            f"in {workdir / 'models' / 'N'}, which can be loaded"
        )
    step = _step_of(checkpoint, config)
    size = batch_size or config["train"]["batch_size"]
    check_batch(mesh, size)
    if config.get("first_stage"):
        return _load_two_stages(workdir, config, step, mesh, size)
    if second_stage and _is_complete(workdir, config):
        folder = workdir / FOLDER
        both = _load_two_stages(folder, read_config(folder), step, mesh, size)
        data = both.config["data"]  # with the condition dropout of the second stage
        both.config = {**config, "data": data}
        return both
    run = open_run(workdir, mesh, "workdir", build=build, load_split=load_split, batch_size=size)
    state = run.restore(step)
    return Run(
        run.config,
        run.family,
        eval_params(state),
        int(state.step),
        run.spec,
        mesh=mesh,
        batch_size=size,
        checkpoint=step if isinstance(step, str) else "",
    )


def _is_complete(workdir: Path, config: Options) -> bool:
    """Whether a run has a second stage that was trained for the checkpoint of it that is used."""
    directory = workdir / "checkpoints"
    used = max(checkpoint_steps(directory), default=0)
    if default_checkpoint(config) == "best":
        used = best_step(directory, ranking_of(config)) or used
    return has_second_stage(config) and trained_for(workdir) == used


def _step_of(checkpoint: str | int, config: Options) -> int | str:
    """The checkpoint that is named, as `restore_state` takes it."""
    if checkpoint == "auto":
        return default_checkpoint(config)
    if checkpoint in ("best", "latest"):
        return checkpoint
    if isinstance(checkpoint, int) and not isinstance(checkpoint, bool) and checkpoint > 0:
        return checkpoint
    raise ValueError(f"checkpoint is 'auto', 'latest', 'best' or a step, found {checkpoint!r}")


def _load_two_stages(workdir: Path, config: Options, step: int | str, mesh: Mesh, size: int) -> Run:
    """A run that learned a prior of another run's latents, and that run, as one model."""
    nested = config["first_stage"] == PARENT and workdir.name == FOLDER
    path = str(workdir.parent) if nested else config["first_stage"]
    of_path = {**config, "first_stage": path}
    config, first = restore_first_stage(of_path, mesh, build=build, load_split=load_split)
    check_first_stage(workdir, first)
    spec, latents = first.spec, first.latent_spec()
    assert spec is not None
    family = build(config, latents.event_shape, {**latents.dataset_info(), "layout": first.layout})
    batch = latents.batch(size)
    shape = jax.eval_shape(
        lambda b: init_state(family, config["seed"], b, config["train"]["ema_decay"]), batch
    )
    like = jax.tree.map(
        lambda s, at: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=at),
        shape,
        tree_sharding(mesh, shape),
    )
    state = restore_state(workdir / "checkpoints", like, step, ranking_of(config))
    return Run(
        config,
        first.joint_family(family),
        first.joint_params(eval_params(state)),
        int(state.step),
        spec,
        mesh=mesh,
        batch_size=size,
        checkpoint=step if isinstance(step, str) else "",
    )
