"""The training loop.

Each dispatch runs a few dozen steps. While it runs, the host reads the metrics of the dispatch
before; at a log step it writes a record, at a checkpoint step it evaluates the model and saves the
state. These steps depend only on the settings, so an interrupted run that resumes from its last
checkpoint reaches the same state, bit-for-bit, and writes the same records.
"""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import jax
from jax.experimental import multihost_utils

from vaejax.core.paths import as_path
from vaejax.core.types import Metrics
from vaejax.training.interruption import Interruption
from vaejax.training.lock import lock, workdir_locks
from vaejax.training.loop_output import Evaluate, LoopOutput
from vaejax.training.selection import has_stopped
from vaejax.training.settings import Settings
from vaejax.training.trackers import Trackers
from vaejax.training.train_step import TrainState, steps_taken
from vaejax.training.trainer import Trainable

__all__ = ["Outcome", "fit"]


class Outcome(NamedTuple):
    """The result of training.

    Attributes:
      state: after the last step.
      rate: steps per second after the first dispatch, which compiles; 0 if there was only one.
      interrupted: whether a signal ended training early; the state is saved.
      signal: its number, also if it came too late for that; 0 if there was none, or if another
        process received it.
      stopped_early: whether training ended by `Settings.patience`.
    """

    state: TrainState
    rate: float
    interrupted: bool
    signal: int = 0
    stopped_early: bool = False


def fit(
    trainer: Trainable,
    settings: Settings,
    *,
    workdir: Path | None = None,
    evaluate: Evaluate | None = None,
    split: str = "eval",
    start: Callable[[], TrainState | None] | None = None,
    trackers: Trackers | None = None,
) -> Outcome:
    """Trains; resumes from the newest checkpoint of `workdir` if there is one.

    Args:
      trainer: a `Trainer` or a `Sweep`.
      settings: those that the trainer was built with.
      workdir: directory for records and checkpoints; None writes neither.
      evaluate: called at every checkpoint.
      split: the data that it evaluates, for the records.
      start: returns the state of the newest checkpoint if that was written under other settings,
        else None.
      trackers: get the records too, of the first process; None for TensorBoard files alone.

    Raises:
      NotFiniteError: `max_consecutive_nonfinite` consecutive steps had a non-finite gradient; in a
        sweep, of every model.
      CorruptCheckpointError: the newest checkpoint is damaged.
      LockedError: another process trains in `workdir`.
      WriteError: a record or checkpoint cannot be written.
    """
    with workdir_locks():
        if workdir is not None:
            workdir = as_path(workdir)
            lock(workdir)
        output = LoopOutput(trainer, settings, workdir, split, trackers)
        try:
            with Interruption() as interruption:
                output.report_layout()
                with _compiling(trainer):
                    state = (start and start()) or output.restore_or_init()
                outcome = _train(trainer, settings, output, evaluate, interruption, state)
        except BaseException:
            output.close(failed=True)
            raise
        output.close()
    return outcome


def _train(
    trainer: Trainable,
    settings: Settings,
    output: LoopOutput,
    evaluate: Evaluate | None,
    interruption: Interruption,
    state: TrainState,
) -> Outcome:
    """The loop of `fit`."""
    start = done = steps_taken(state)
    output.open_log(start)
    timer = _Timer(start)
    unread: tuple[int, Metrics] | None = None  # step and metrics of the dispatch before
    spans = [] if has_stopped(state, settings.patience) else settings.spans(start)
    for number, (span, batches) in enumerate(trainer.loader.batches(spans)):
        step = span[1]
        state, metrics = trainer.dispatch(state, span, batches)
        if span[0] == start:
            jax.block_until_ready(metrics)
            timer = _Timer(step)
            interruption.arm()  # before, nothing is lost by ending at once
        if unread:
            output.read(*unread)
        unread, done = (step, metrics), step
        logs, saves = step % settings.log_every == 0, settings.saves_at(step)
        stops = _stops(interruption.signal != 0, number)
        if not (logs or saves or stops):
            continue
        record, unread = output.read(step, metrics), None
        if logs:
            output.write_record(step, record, timer.rate(step))
        if saves:
            state = output.evaluate_and_save(step, state, evaluate)
        elif stops:
            output.save(step, state)
        if stops or has_stopped(state, settings.patience):
            break
    rate = timer.rate(done)
    output.wait()
    early = has_stopped(state, settings.patience)
    return Outcome(state, rate, done < settings.steps and not early, interruption.signal, early)


@contextmanager
def _compiling(trainer: Trainable) -> Iterator[None]:
    """Compiles the dispatch in a thread while the state is made or read.

    On CPU in one process: elsewhere a program is for one number of steps, and processes should do
    the same things in the same order.
    """
    if jax.default_backend() != "cpu" or jax.process_count() > 1:
        yield
        return

    def compile_ahead() -> None:
        with suppress(Exception):  # which the first dispatch raises again
            trainer.compile()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(compile_ahead,))
    thread.start()
    try:
        yield
    finally:
        thread.join()


class _Timer:
    """Measures the steps per second from `step` on."""

    def __init__(self, step: int) -> None:
        self._start, self._step = time.perf_counter(), step

    def rate(self, step: int) -> float:
        return (step - self._step) / max(time.perf_counter() - self._start, 1e-9)


def _stops(interrupted: bool, dispatch: int) -> bool:
    """Whether to stop after this dispatch; several processes agree on one, see `Interruption`."""
    if jax.process_count() == 1:
        return interrupted
    return multihost_utils.reached_preemption_sync_point(dispatch)
