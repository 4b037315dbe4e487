"""One model of a sweep as a run of its own, in `models/N/`."""

from pathlib import Path

import jax

from vaejax.core.files import write_bytes
from vaejax.core.ranking import Ranking
from vaejax.experiment.prepare_sweep import SweepExperiment
from vaejax.experiment.workdir import FINGERPRINT, acquire_workdir
from vaejax.sweeps.grid import config_of_model
from vaejax.sweeps.one_model import one_model
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.checkpoint_index import checkpoint_steps
from vaejax.training.lock import lock
from vaejax.training.restore import ranking_of, restore_state
from vaejax.training.train_step import TrainState

__all__ = ["newest_state", "take_out"]


def newest_state(experiment: SweepExperiment) -> TrainState:
    """The state of the newest checkpoint.

    Raises:
      FileNotFoundError: there is none.
    """
    return restore_state(experiment.workdir / "checkpoints", experiment.sweep.state_shape)


def take_out(experiment: SweepExperiment, model: int, *, create: bool) -> Path:
    """Writes one model's state as a checkpoint of its own run; returns the run's directory."""
    workdir, folder = experiment.workdir, experiment.workdir / "models" / str(model)
    config = config_of_model(experiment.config, experiment.grid, model)
    acquire_workdir(folder, config, create=create or not (folder / "config.json").exists())
    state, _ = one_model(newest_state(experiment), model, experiment.mesh)
    if max(checkpoint_steps(folder / "checkpoints"), default=-1) < int(state.step):
        lock(folder)
        _save_model(folder, state, ranking_of(config))
    for name in ("data.json", FINGERPRINT):
        missing = (workdir / name).exists() and not (folder / name).exists()
        if missing and jax.process_index() == 0:
            write_bytes(folder / name, (workdir / name).read_bytes())
    return folder


def _save_model(folder: Path, state: TrainState, by: Ranking) -> None:
    """Writes the checkpoints of one model: that of its best evaluation, if known, and the newest.

    The best one has the parameters of its step alone; training resumes from the newest.
    """
    checkpoints, newest = Checkpoints(folder / "checkpoints", by=by), int(state.step)
    metrics: dict[str, float] | None = None
    if state.best_params and (best_step := int(state.best_step)) > 0:
        metrics = {by.metric: float(state.best) * (1 if by.maximize else -1)}
        if best_step < newest:
            params = state.best_params
            best = state._replace(step=state.best_step, params=params, best_params={})
            best = best._replace(ema=params if state.ema else {})
            checkpoints.save(best_step, best, metrics)
            metrics = None
    checkpoints.save(newest, state._replace(best_params={}), metrics)
    checkpoints.close()
