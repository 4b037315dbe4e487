"""The state that a training starts from: initial, of a checkpoint, or of other settings."""

from collections.abc import Callable
from pathlib import Path

import jax

from vaejax.core.game import Family, Params, optimizer
from vaejax.core.types import Options
from vaejax.experiment.init_from import initial_params
from vaejax.training import Trainer
from vaejax.training.checkpoint_index import checkpoint_steps
from vaejax.training.checkpoint_reader import restore_changed
from vaejax.training.history import config_before
from vaejax.training.train_step import TrainState
from vaejax.training.transfer_state import transferred

__all__ = ["restore_after_change", "start_from"]


def start_from(config: Options, workdir: Path, shapes: Params) -> Params:
    """The parameters that `init_from` gives a run without checkpoints; `{}` if there are none.

    Args:
      config: of the run.
      workdir: of the run; once it has a checkpoint, `init_from` is not read again.
      shapes: of its parameters.

    Raises:
      FileNotFoundError, ValueError: as from `initial_params`.
    """
    if checkpoint_steps(workdir / "checkpoints"):
        return {}
    found = initial_params(config, shapes)
    return found.values if found else {}


def restore_after_change(
    trainer: Trainer, workdir: Path, make: Callable[[Options], Family]
) -> TrainState | None:
    """The newest state of a run, if it was written under other settings of the optimisation.

    Args:
      trainer: of the present settings.
      workdir: of the run.
      make: `config -> family`.

    Returns:
      The state under the present settings; None if the newest checkpoint is of these already.
    """
    directory = workdir / "checkpoints"
    steps = checkpoint_steps(directory)
    if not steps or (before := config_before(workdir, steps[-1])) is None:
        return None
    family, like = make(before), trainer.state_shape
    structure = jax.eval_shape(optimizer(family.players).init, like.params)
    state = restore_changed(directory, like, steps[-1], structure)
    trainer.initial = state.params
    fresh = trainer.init()
    trainer.initial = {}
    opt_state = transferred(fresh.opt_state, state.opt_state, state.step)
    ema = state.ema if state.ema and fresh.ema else fresh.ema
    return state._replace(opt_state=opt_state, ema=ema)
