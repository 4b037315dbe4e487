"""The training loop: a few dozen steps a dispatch, and what happens between dispatches.

In order, after each dispatch: figures of the one before are read while this one runs; at a log
step a record is written; at a checkpoint step the model is evaluated and the state saved. All of
these steps are functions of the settings alone, so a run that is killed and goes on from its last
checkpoint ends in the same state, to the bit, and leaves the same records.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from vaejax.core.game import Params
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.logging import Log, Progress
from vaejax.training.settings import Settings
from vaejax.training.train_step import TrainState, eval_params
from vaejax.training.trainer import Trainable

Evaluate = Callable[[Params, int], Mapping[str, Any]]  # (params, step) -> figures


class Outcome(NamedTuple):
    """How training ended.

    Attributes:
      state: after the last step.
      rate: steps a second after the first dispatch, which compiles; 0 if there was no other.
      interrupted: whether a signal ended it early.
    """

    state: TrainState
    rate: float
    interrupted: bool


class NotFiniteError(FloatingPointError):
    """Too many steps in a row had a gradient that was not finite."""


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """An event that SIGTERM or Ctrl-C sets, in place of ending the process in mid-write."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(s, lambda *_: event.set()) for s in signals]
    try:
        yield event
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)


def fit(
    trainer: Trainable,
    settings: Settings,
    *,
    workdir: Path | None = None,
    evaluate: Evaluate | None = None,
) -> Outcome:
    """Trains, from the newest checkpoint of `workdir` if it has one.

    Args:
      trainer: what to train, one model or several.
      settings: those that the trainer was made with.
      workdir: where records and checkpoints go; None keeps none.
      evaluate: called at every checkpoint.

    Raises:
      NotFiniteError: after `max_skipped` steps in a row without a finite gradient, of all models.
      CorruptCheckpointError: the newest checkpoint is damaged.
    """
    checkpoints = None
    if workdir is not None:
        checkpoints = Checkpoints(workdir / "checkpoints", settings.keep_last, settings.keep_best)
    resumed = checkpoints is not None and checkpoints.latest() is not None
    state = checkpoints.restore(trainer.state_shape) if resumed and checkpoints else trainer.init()
    start = int(np.max(state.step))
    spans = settings.spans(start)
    if workdir is None or jax.process_index() > 0:
        log = progress = None
    else:
        log, progress = Log(workdir, start), Progress(settings.steps, start)

    began, compiled, done = time.perf_counter(), start, start
    pending: tuple[int, Any] | None = None

    def report() -> Any:
        assert pending is not None
        named = jax.device_get(pending[1])
        if progress:
            progress.update(pending[0], trainer.overall(named))
        return named

    def write(step: int, split: str, named: Any) -> None:
        for of, figures in trainer.records(named):
            if log:
                log.write(step, split, figures, of)

    try:
        with _interruption() as interrupted:
            for span, chunk in trainer.feed.chunks(spans):
                step = span[1]
                state, named = trainer.dispatch(state, span, chunk)
                if span[0] == start:
                    jax.block_until_ready(named)
                    began, compiled = time.perf_counter(), step
                if pending:
                    report()
                pending, done = (step, named), step
                logs, saves = step % settings.log_every == 0, settings.saves_at(step)
                stops = _stops(interrupted, logs or saves)
                if not (logs or saves or stops):
                    continue
                record, pending = report(), None
                if (skipped := int(np.min(state.skipped))) >= settings.max_skipped:
                    raise NotFiniteError(
                        f"step {step}: the gradient, or the move made of it, was not finite in the "
                        f"last {skipped} steps (train.max_skipped={settings.max_skipped}); the "
                        "parameters are those before. A lower learning_rate or a clip_norm for the "
                        "players may help"
                    )
                if log and logs:
                    write(step, "train", record)
                    log.board(step, {"steps_per_second": _rate(step - compiled, began)})
                if saves:
                    judged = evaluate(eval_params(state), step) if evaluate else None
                    if judged:
                        write(step, "eval", judged)
                    if log:
                        log.flush()
                    if checkpoints:
                        checkpoints.save(step, state, trainer.overall(judged) if judged else None)
                if stops:
                    if checkpoints and not saves:
                        if log:
                            log.flush()
                        checkpoints.save(step, state)
                    break
            rate = _rate(done - compiled, began)
            if checkpoints:
                checkpoints.wait()
    finally:
        for resource in (progress, log, checkpoints):
            if resource:
                resource.close()
    return Outcome(state, rate, done < settings.steps)


def _stops(interrupted: threading.Event, meeting: bool) -> bool:
    """Whether to stop here. Several processes agree on it, where they meet anyway."""
    if jax.process_count() == 1:
        return interrupted.is_set()
    return meeting and bool(
        multihost_utils.process_allgather(np.array([interrupted.is_set()])).any()
    )


def _rate(steps: int, began: float) -> float:
    return steps / max(time.perf_counter() - began, 1e-9)
