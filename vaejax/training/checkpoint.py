"""Checkpoints written by Orbax, with a record of names, shapes and checksums of all arrays."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from vaejax.core.files import WriteError, as_os_error, os_error_in, write_json
from vaejax.core.paths import absolute, is_bucket, remove_tree
from vaejax.core.ranking import ELBO, Ranking
from vaejax.training.checkpoint_index import (
    METRICS,
    best_step,
    checkpoint_steps,
    is_complete,
    layout_at,
    read_metrics,
)
from vaejax.training.checkpoint_reader import CorruptCheckpointError, restore_checkpoint, to_dict
from vaejax.training.checkpoint_record import described_layout, layout_of, record_of
from vaejax.training.orbax_buckets import temporary_path_class
from vaejax.training.orbax_output import SilentOrbax
from vaejax.training.train_step import TrainState

__all__ = ["Checkpoints", "CorruptCheckpointError"]


@contextmanager
def _orbax_errors(directory: Path, silent: SilentOrbax) -> Iterator[None]:
    """Turns what Orbax and TensorStore raise for a failed write into one line with the path."""
    try:
        yield
    except CorruptCheckpointError:
        raise
    except Exception as error:  # they share no base class
        silent.failed = True
        raise _write_error(directory, error) from error


def _write_error(directory: Path, error: BaseException) -> Exception:
    """The `WriteError` that an exception stands for; the exception itself if it is another one."""
    if isinstance(error, WriteError):
        return error
    if isinstance(error, OSError):
        return WriteError(directory, error)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return WriteError(directory, cause)
        cause = cause.__cause__ or cause.__context__
    if (quoted := os_error_in(str(error))) is not None:
        return WriteError(directory, quoted)
    if is_bucket(directory) and isinstance(error, Exception):
        return WriteError(directory, as_os_error(error))
    return error if isinstance(error, Exception) else RuntimeError(str(error))


class Checkpoints:
    """The checkpoints of a run, written in the background; the newest and the best are kept.

    For the process that trains: opening removes what a killed process left half-written or
    half-deleted. Readers use `checkpoint_reader`, which changes nothing.

    Raises:
      WriteError: from any method, a checkpoint cannot be written.
    """

    def __init__(
        self, directory: Path, keep_last: int = 2, keep_best: int = 1, by: Ranking = ELBO
    ) -> None:
        """Opens the directory, which is created if it is missing.

        Args:
          directory: of the checkpoints.
          keep_last: number of newest checkpoints to keep.
          keep_best: number of further ones to keep, those of the best evaluations.
          by: the metric of these.
        """
        kept: list[preservation_policy.PreservationPolicy] = [
            preservation_policy.LatestN(keep_last)
        ]
        if keep_best:
            kept.append(
                preservation_policy.BestN(
                    get_metric_fn=by.score, n=keep_best, keep_checkpoints_without_metrics=False
                )
            )
        options = ocp.CheckpointManagerOptions(
            best_fn=by.score,  # makes Orbax store the metrics; `preservation_policy` uses them
            preservation_policy=preservation_policy.AnyPreservationPolicy(kept),
            cleanup_tmp_directories=True,
            save_interval_steps=1,
            temporary_path_class=temporary_path_class(directory),
        )
        self._directory, self._by = absolute(directory), by
        self._silent = SilentOrbax()  # its threads print what they raise
        with _orbax_errors(directory, self._silent):
            if jax.process_index() == 0:
                _repair(self._directory)
            self._manager = ocp.CheckpointManager(self._directory, options=options)

    def steps(self) -> list[int]:
        """The steps of all checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step of the checkpoint with the best evaluation, or None."""
        return best_step(self._directory, self._by)

    def save(self, step: int, state: TrainState, metrics: dict[str, float] | None = None) -> None:
        """Starts writing a checkpoint. The state may be donated as soon as this returns.

        Args:
          step: of the state.
          state: the state to write.
          metrics: of an evaluation at this step, by which checkpoints are ranked.
        """
        # The writer's thread reads the copy while the next steps reuse the buffers of the state.
        # One process copies to the host, where the checksums are computed too; of arrays on devices
        # Orbax compiles a program for each shape and device.
        copy = np.array if jax.process_count() == 1 else jax.numpy.copy
        tree = jax.tree.map(copy, to_dict(state))
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(tree),
            checksums=ocp.args.JsonSave(record_of(tree, layout_of(state))),
        )
        finite = {k: v for k, v in (metrics or {}).items() if math.isfinite(v)}
        with _orbax_errors(self._directory, self._silent):
            self._manager.save(step, args=args, metrics=finite, force=True)

    def other_layout(self, like: TrainState) -> str | None:
        """A line on how the newest checkpoint was written by other processes or devices; or None.

        Args:
          like: shapes and shardings of the state.
        """
        steps = checkpoint_steps(self._directory)
        before, now = layout_at(self._directory, steps[-1]) if steps else {}, layout_of(like)
        if not before or before == now:
            return None
        return (
            f"Step {steps[-1]} was saved by {described_layout(before)} and is resumed by "
            f"{described_layout(now)}: sums over a batch are added in another order, so that the "
            "last bits may differ from those of an uninterrupted run"
        )

    def restore(self, like: TrainState, step: int | None = None) -> TrainState:
        """Reads a checkpoint, the newest by default; see `restore_checkpoint`."""
        steps = checkpoint_steps(self._directory)
        if step is None and not steps:
            raise FileNotFoundError(f"{self._directory} has no checkpoint")
        return restore_checkpoint(self._directory, like, steps[-1] if step is None else step)

    def wait(self) -> None:
        """Returns when all checkpoints are written."""
        with _orbax_errors(self._directory, self._silent):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the writes, and ends the background threads."""
        with _orbax_errors(self._directory, self._silent):
            self._manager.close()
        self._silent.end()


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds nothing but parts of a checkpoint of Orbax."""
    parts = {"state", "checksums", "metrics", "_CHECKPOINT_METADATA", "commit_success.txt"}
    return {f.name for f in folder.iterdir()} <= parts


def _repair(directory: Path) -> None:
    """Removes half-deleted checkpoints; empties metrics that cannot be read.

    A process that was killed while it deleted an old checkpoint leaves a part of it. Metrics only
    rank checkpoints, so damaged ones must not keep an intact state from being used.
    """
    folders = [f for f in directory.glob("*") if f.name.isdigit() and f.is_dir()]
    newest = max((int(f.name) for f in folders), default=0)
    for folder in folders:
        if int(folder.name) < newest and not is_complete(folder) and _is_ours(folder):
            remove_tree(folder)
        elif (folder / METRICS).is_file() and read_metrics(folder) is None:
            print(
                f"warning: {folder / METRICS} is damaged; checkpoint {folder.name} is kept, but "
                "not ranked by its evaluation",
                file=sys.stderr,
            )
            write_json(folder / METRICS, {})
