"""Which checkpoint of a run is evaluated, sampled from, encoded with and exported."""

from vaejax.experiment.experiment import Experiment
from vaejax.training.checkpoint_index import best_step
from vaejax.training.restore import default_checkpoint, ranking_of, restore_state
from vaejax.training.train_step import TrainState

__all__ = ["choose_state", "parse_checkpoint"]


def parse_checkpoint(text: str | int) -> str | int:
    """A checkpoint as from the command line: `'auto'`, `'best'`, `'latest'` or a step.

    Raises:
      ValueError: it is none of these.
    """
    if text in ("auto", "best", "latest"):
        return text
    step = int(text) if str(text).isascii() and str(text).isdigit() else 0
    if step < 1:
        raise ValueError(f"--checkpoint is auto, best, latest or a step, found {text!r}")
    return step


def choose_state(
    experiment: Experiment, checkpoint: str | int, newest: TrainState | None = None
) -> TrainState:
    """The state of a checkpoint; prints which one it is.

    Args:
      experiment: the run.
      checkpoint: from `parse_checkpoint`.
      newest: the state of the newest checkpoint, if it is at hand.

    Raises:
      FileNotFoundError: there is no such checkpoint.
    """
    config, directory = experiment.run_config, experiment.workdir / "checkpoints"
    by, chosen = ranking_of(config), checkpoint
    if chosen == "auto":
        chosen = default_checkpoint(config)
    best = best_step(directory, by) if chosen == "best" else None
    if newest is not None and (chosen == "latest" or best == int(newest.step)):
        state = newest
    else:
        state = restore_state(directory, experiment.trainer.state_shape, chosen, by)
    reason = "the newest"
    if isinstance(chosen, int):
        reason = "as chosen"
    elif chosen == "best" and best is None:
        reason = "the newest, since none was evaluated"
    elif chosen == "best":
        split = "eval" if config["data"].get("validation", "none") == "none" else "validation"
        reason = f"the best of the {split} split by {by.metric}"
    print(f"Checkpoint: step {int(state.step)}, {reason}", flush=True)
    return state
