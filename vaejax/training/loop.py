"""The training loop.

Each dispatch runs a few dozen steps. While it runs, the host reads the metrics of the dispatch
before; at a log step it writes a record, at a checkpoint step it evaluates the model and saves the
state. These steps depend only on the settings, so an interrupted run that resumes from its last
checkpoint reaches the same state, bit-for-bit, and writes the same records.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from vaejax.core.game import Params
from vaejax.core.paths import as_path
from vaejax.core.types import Metrics, Options
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.interruption import Interruption
from vaejax.training.lock import check_held, lock, workdir_locks
from vaejax.training.logging import Log, Progress
from vaejax.training.selection import has_stopped, observe
from vaejax.training.settings import Settings
from vaejax.training.trackers import Trackers
from vaejax.training.train_step import TrainState, eval_params, steps_taken
from vaejax.training.trainer import CONSECUTIVE, Trainable

__all__ = ["Evaluate", "NotFiniteError", "Outcome", "fit"]

Evaluate = Callable[[Params, int], Options]  # (params, step) -> metrics


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


class NotFiniteError(FloatingPointError):
    """Too many consecutive steps had a non-finite gradient or update."""


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
        output = _Output(trainer, settings, workdir, split, trackers)
        try:
            with Interruption() as interruption:
                output.report_layout()
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
    output: "_Output",
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


class _Output:
    """The files and the progress line of a run; none of them without a working directory.

    Only the first process writes records. All processes write checkpoints.
    """

    def __init__(
        self,
        trainer: Trainable,
        settings: Settings,
        workdir: Path | None,
        split: str,
        trackers: Trackers | None,
    ) -> None:
        self._trainer, self._settings, self._workdir = trainer, settings, workdir
        self._split, self._trackers = split, trackers
        self._checkpoints: Checkpoints | None = None
        self._log: Log | None = None
        self._progress: Progress | None = None
        if workdir is not None:
            self._checkpoints = Checkpoints(
                workdir / "checkpoints", settings.keep_last, settings.keep_best, settings.ranking
            )

    def restore_or_init(self) -> TrainState:
        """The state of the newest checkpoint, or the initial state."""
        if self._checkpoints is None or self._checkpoints.latest() is None:
            return self._trainer.init()
        return self._checkpoints.restore(self._trainer.state_shape)

    def report_layout(self) -> None:
        """Prints a line if other processes or devices wrote the newest checkpoint."""
        checkpoints, like = self._checkpoints, self._trainer.state_shape
        if checkpoints is not None and (line := checkpoints.other_layout(like)):
            print(line, flush=True)

    def open_log(self, start: int) -> None:
        if self._workdir is not None and jax.process_index() == 0:
            self._log = Log(self._workdir, start, self._trackers)
            self._progress = Progress(self._settings.steps, start)

    def read(self, step: int, metrics: Metrics) -> Metrics:
        """The metrics on the host, once computed; updates the progress line.

        Raises:
          NotFiniteError: after too many consecutive skipped steps.
        """
        metrics = dict(jax.device_get(metrics))
        consecutive = metrics.pop(CONSECUTIVE)
        _check_finite(np.asarray(consecutive), step, self._settings.max_consecutive_nonfinite)
        if self._progress:
            self._progress.update(step, self._trainer.overall(metrics))
        return metrics

    def write_record(self, step: int, metrics: Options, rate: float) -> None:
        self._write(step, "train", metrics)
        if self._log:
            self._log.write_points(step, {"steps_per_second": rate})

    def evaluate_and_save(
        self, step: int, state: TrainState, evaluate: Evaluate | None
    ) -> TrainState:
        """Evaluates and saves; the state has the result of the evaluation."""
        metrics = evaluate(eval_params(state), step) if evaluate else None
        if metrics:
            skipped = np.asarray(jax.device_get(state.total_skipped))
            self._write(step, self._split, {**metrics, "skipped": skipped})
            settings = self._settings
            required = settings.best_metric if settings.patience else ""
            state = observe(state, settings.ranking.scores(metrics), required=required)
        self.save(step, state, self._trainer.overall(metrics) if metrics else None)
        return state

    def save(self, step: int, state: TrainState, metrics: dict[str, float] | None = None) -> None:
        """Saves a checkpoint, after all records up to it are on disk."""
        if self._workdir is not None:
            check_held(self._workdir)
        if self._log:
            self._log.flush()
        if self._checkpoints:
            self._checkpoints.save(step, state, metrics)

    def wait(self) -> None:
        if self._checkpoints:
            self._checkpoints.wait()

    def close(self, *, failed: bool = False) -> None:
        """Closes everything; raises what could not be written, unless there was an error before."""
        errors: list[Exception] = []
        for resource in (self._progress, self._log, self._checkpoints):
            try:
                if resource:
                    resource.close()
            except Exception as error:
                errors.append(error)
        if errors and not failed:
            raise errors[0]

    def _write(self, step: int, split: str, metrics: Options) -> None:
        if self._log:
            for identity, numbers in self._trainer.records(metrics):
                self._log.write(step, split, numbers, identity)


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


def _check_finite(consecutive: np.ndarray, step: int, limit: int) -> None:
    """Raises NotFiniteError after `limit` consecutive skipped steps of every model."""
    if (skipped := int(np.min(consecutive))) >= limit:
        raise NotFiniteError(
            f"step {step}: the gradient or the update was not finite in the last {skipped} steps "
            f"(train.max_consecutive_nonfinite={limit}); the parameters are those before these "
            "steps. A lower learning_rate or a clip_norm for the players may help"
        )
