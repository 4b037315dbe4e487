"""The files and the progress line that the training loop writes."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import Metrics, Options
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.lock import check_held
from vaejax.training.logging import Log, Progress
from vaejax.training.selection import observe
from vaejax.training.settings import Settings
from vaejax.training.trackers import Trackers
from vaejax.training.train_step import TrainState, eval_params
from vaejax.training.trainer import CONSECUTIVE, Trainable

__all__ = ["Evaluate", "LoopOutput", "NotFiniteError"]

Evaluate = Callable[[Params, int], Options]  # (params, step) -> metrics


class NotFiniteError(FloatingPointError):
    """Too many consecutive steps had a non-finite gradient or update."""


class LoopOutput:
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
        """Opens the log and the progress line of a training from the step `start` on."""
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
        """Writes the metrics of training, and the steps per second as a point."""
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
        """Returns when the last checkpoint is on disk."""
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


def _check_finite(consecutive: np.ndarray, step: int, limit: int) -> None:
    """Raises NotFiniteError after `limit` consecutive skipped steps of every model."""
    if (skipped := int(np.min(consecutive))) >= limit:
        raise NotFiniteError(
            f"step {step}: the gradient or the update was not finite in the last {skipped} steps "
            f"(train.max_consecutive_nonfinite={limit}); the parameters are those before these "
            "steps. A lower learning_rate or a clip_norm for the players may help"
        )
