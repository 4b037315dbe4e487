"""Checkpoints written by Orbax, with a checksum for every array."""

import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy

from vaejax.core.types import PyTree
from vaejax.training.train_step import TrainState

__all__ = ["Checkpoints", "CorruptCheckpointError"]


def _to_dict(state: TrainState) -> dict[str, PyTree]:
    """The state as nested dicts: parameters by name, the optimizers' state as numbered leaves."""
    leaves = jax.tree.leaves(state.opt_state)
    tree = state._asdict() | {"opt_state": {f"{i:04d}": leaf for i, leaf in enumerate(leaves)}}
    if not state.ema:
        del tree["ema"]  # Orbax stores no empty dicts
    return tree


def _from_dict(tree: dict[str, PyTree], like: TrainState) -> TrainState:
    """The inverse of `_to_dict`; `like` has the structure of the optimizers' state."""
    numbered = tree.get("opt_state", {})
    leaves = [numbered[name] for name in sorted(numbered)]
    opt_state = jax.tree.unflatten(jax.tree.structure(like.opt_state), leaves)
    return TrainState(**{"ema": {}, **tree, "opt_state": opt_state})


def _checksums(tree: PyTree) -> dict[str, int]:
    """Path -> CRC-32 of every array that is entirely on this process: all, on a single host."""
    sums = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            sums[name] = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).reshape(-1).data)
    return sums


def _score(metrics: Mapping[str, float]) -> float:
    """The ELBO, by which the best checkpoint is selected; −inf without an evaluation."""
    elbo = metrics.get("elbo", math.nan)
    return elbo if math.isfinite(elbo) else -math.inf


@contextmanager
def _quiet(on: bool) -> Iterator[None]:
    """Keeps Orbax from warning that a manager opened for reading is read-only."""
    before = logging.get_verbosity()
    if on:
        logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


class CorruptCheckpointError(RuntimeError):
    """A checkpoint cannot be read, or its arrays differ from their checksums."""


class Checkpoints:
    """The checkpoints of a run, written in the background; the newest and the best are kept."""

    def __init__(
        self,
        directory: Path,
        keep_last: int = 2,
        keep_best: int = 1,
        *,
        read_only: bool = False,
    ) -> None:
        kept: list[preservation_policy.PreservationPolicy] = [
            preservation_policy.LatestN(keep_last)
        ]
        if keep_best:
            kept.append(
                preservation_policy.BestN(
                    get_metric_fn=_score,
                    n=keep_best,
                    keep_checkpoints_without_metrics=False,
                )
            )
        options = ocp.CheckpointManagerOptions(
            best_fn=_score,  # makes Orbax store the metrics; `preservation_policy` uses them
            preservation_policy=preservation_policy.AnyPreservationPolicy(kept),
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
            save_interval_steps=0 if read_only else 1,
        )
        with _quiet(read_only):
            self._manager = ocp.CheckpointManager(directory.resolve(), options=options)

    def steps(self) -> list[int]:
        """The steps of all checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step of the checkpoint with the highest evaluated ELBO, or None."""
        scores = [(_score(self._manager.metrics(s) or {}), s) for s in self.steps()]
        score, step = max(scores, default=(-math.inf, None))
        return step if score > -math.inf else None

    def save(self, step: int, state: TrainState, metrics: dict[str, float] | None = None) -> None:
        """Starts writing a checkpoint. The state may be donated as soon as this returns.

        Args:
          step: of the state.
          state: the state to write.
          metrics: of an evaluation at this step; `elbo` decides which checkpoint is the best.
        """
        # The writer's thread reads the copy while the next steps reuse the buffers of the state.
        tree = jax.tree.map(jax.numpy.copy, _to_dict(state))
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(tree), checksums=ocp.args.JsonSave(_checksums(tree))
        )
        self._manager.save(step, args=args, metrics=metrics or {}, force=True)

    def restore(self, like: TrainState, step: int | None = None) -> TrainState:
        """Reads a checkpoint, onto any mesh.

        Args:
          like: shapes, dtypes and shardings of the result.
          step: of the checkpoint; None for the newest.

        Raises:
          CorruptCheckpointError: an array cannot be read, or differs from its checksum.
          ValueError: the checkpoint has other arrays than `like`.
        """
        step = self.latest() if step is None else step
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(_to_dict(like)), checksums=ocp.args.JsonRestore()
        )
        try:
            restored = self._manager.restore(step, args=args)
        except (ValueError, OSError):
            raise
        except Exception as error:  # Orbax raises nothing more specific for damaged files
            raise self._damage(step, f"cannot be read ({str(error).splitlines()[0]})") from error
        stored, actual = restored["checksums"], _checksums(restored["state"])
        # With another number of processes, other arrays may have been entirely on one process.
        damaged = sorted(k for k in actual.keys() & stored.keys() if actual[k] != stored[k])
        if damaged:
            raise self._damage(
                step,
                f"is damaged: {len(damaged)} arrays differ from their checksums, among them "
                f"{damaged[0]}",
            )
        return _from_dict(restored["state"], like)

    def _damage(self, step: int | None, what: str) -> CorruptCheckpointError:
        return CorruptCheckpointError(
            f"checkpoint {step} in {self._manager.directory} {what}; delete its folder '{step}' to "
            f"resume from an earlier one {[s for s in self.steps() if s != step]}"
        )

    def wait(self) -> None:
        """Returns when all checkpoints are written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the writes, and ends the background threads."""
        self._manager.close()
