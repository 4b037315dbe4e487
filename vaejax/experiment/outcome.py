"""What a training ended with: outcomes that must not look like a success."""

import math
import signal
from collections.abc import Mapping

import numpy as np

from vaejax.training import NotFiniteError, Outcome
from vaejax.training.interruption import StoppedError
from vaejax.training.train_step import TrainState, steps_taken

__all__ = ["check_elbo", "check_steps_taken", "check_stopped"]

_ADVICE = "a lower learning_rate, a clip_norm for the players, or data of unit scale may help"


def check_stopped(outcome: Outcome) -> None:
    """Raises StoppedError if there was a signal during the training, also at its last step."""
    if outcome.interrupted or outcome.signal:
        step = steps_taken(outcome.state)
        raise StoppedError(
            outcome.signal or signal.SIGTERM,
            f"Stopped at step {step} and saved; the same command resumes from there.",
        )


def check_steps_taken(state: TrainState) -> None:
    """Raises NotFiniteError if every step, of every model, was skipped."""
    steps = steps_taken(state)
    if steps and int(np.min(state.total_skipped)) >= steps:
        raise NotFiniteError(
            f"all {steps} steps were skipped, since the gradient or the update was not finite: "
            f"nothing was learned; {_ADVICE}"
        )


def check_elbo(metrics: Mapping[str, float]) -> None:
    """Raises NotFiniteError if the ELBO of an evaluation is not finite."""
    if math.isfinite(metrics.get("elbo", 0.0)):
        return
    parts = ", ".join(f"{k} {metrics[k]:g}" for k in ("nll", "kl") if k in metrics)
    raise NotFiniteError(
        f"the ELBO of the evaluation is not finite{f' ({parts})' if parts else ''}; {_ADVICE}"
    )
