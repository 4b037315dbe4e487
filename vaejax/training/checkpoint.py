"""Checkpoints that are kept, found and trusted: Orbax, with a checksum for every array."""

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from vaejax.training.train_step import TrainState


def _to_dict(state: TrainState) -> dict[str, Any]:
    """Parameters by name, as anyone can read them; the optimizer's state as numbered leaves."""
    leaves = jax.tree.leaves(state.opt_state)
    tree = state._asdict() | {"opt_state": {f"{i:04d}": leaf for i, leaf in enumerate(leaves)}}
    if not state.ema:
        del tree["ema"]  # Orbax keeps no empty dicts
    return tree


def _from_dict(tree: dict[str, Any], like: TrainState) -> TrainState:
    numbered = tree.get("opt_state", {})
    leaves = [numbered[name] for name in sorted(numbered)]
    opt_state = jax.tree.unflatten(jax.tree.structure(like.opt_state), leaves)
    return TrainState(**{"ema": {}, **tree, "opt_state": opt_state})


def _checksums(tree: Any) -> dict[str, int]:
    """Path -> CRC-32 of every array that this process holds whole: all, but for several hosts'."""
    sums = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            sums[name] = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).reshape(-1).data)
    return sums


def _score(figures: Mapping[str, float]) -> float:
    """What the best checkpoint has most of; the lowest for one that was not evaluated."""
    elbo = figures.get("elbo", math.nan)
    return elbo if math.isfinite(elbo) else -math.inf


class CorruptCheckpointError(RuntimeError):
    """A checkpoint's arrays are not those that were written."""


class Checkpoints:
    """The checkpoints of one run, written in the background; the last and the best are kept."""

    def __init__(self, directory: Path, keep_last: int = 2, keep_best: int = 1) -> None:
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
            best_fn=_score,  # without it Orbax writes no figures down; the policy is what rules
            preservation_policy=preservation_policy.AnyPreservationPolicy(kept),
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(directory.resolve(), options=options)

    def steps(self) -> list[int]:
        """Steps at which there is a checkpoint, in order."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step of the kept checkpoint with the highest evaluated ELBO, or None."""
        scores = [(_score(self._manager.metrics(s) or {}), s) for s in self.steps()]
        score, step = max(scores, default=(-math.inf, None))
        return step if score > -math.inf else None

    def save(self, step: int, state: TrainState, figures: dict[str, float] | None = None) -> None:
        """Starts to write a checkpoint. The state may be donated as soon as this returns.

        Args:
          step: of the state.
          state: what to write.
          figures: evaluated at this step; `elbo` decides which checkpoint is the best.
        """
        # A copy: the writer's thread reads these buffers while the next steps reuse the others.
        tree = jax.tree.map(jax.numpy.copy, _to_dict(state))
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(tree), checksums=ocp.args.JsonSave(_checksums(tree))
        )
        self._manager.save(step, args=args, metrics=figures or {}, force=True)

    def restore(self, like: TrainState, step: int | None = None) -> TrainState:
        """Reads a checkpoint back, onto any mesh.

        Args:
          like: shapes, dtypes and shardings wanted.
          step: which checkpoint; None for the newest.

        Raises:
          CorruptCheckpointError: an array cannot be read, or is not the one that was written.
          ValueError: it holds other arrays than `like`.
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
        wanted, found = restored["checksums"], _checksums(restored["state"])
        # Another number of processes may have held other arrays whole.
        both = found.keys() & wanted.keys()
        bad = sorted(name for name in both if wanted[name] != found[name])
        if bad:
            raise self._damage(
                step, f"is damaged: {len(bad)} arrays are not as written, {bad[0]} among them"
            )
        return _from_dict(restored["state"], like)

    def _damage(self, step: int | None, what: str) -> CorruptCheckpointError:
        return CorruptCheckpointError(
            f"checkpoint {step} in {self._manager.directory} {what}; delete its folder '{step}' to "
            f"go on from an earlier one {[s for s in self.steps() if s != step]}"
        )

    def wait(self) -> None:
        """Returns when all is written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends the background threads."""
        self._manager.close()
