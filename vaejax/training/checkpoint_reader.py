"""Reading checkpoints. Nothing on disk changes, so that readers need no right to write.

A training may delete a checkpoint at any moment, also while it is read; `training.restore` copes
with that.
"""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from vaejax.core.files import as_os_error
from vaejax.core.game import Params
from vaejax.core.paths import absolute, as_path, failures
from vaejax.core.types import Options, PyTree
from vaejax.training.checkpoint_index import RECORD, STATE, checkpoint_steps
from vaejax.training.checkpoint_record import (
    DamagedRecordError,
    check_arrays,
    missing_arrays,
    read_record,
)
from vaejax.training.lost_process import lost_process
from vaejax.training.orbax_buckets import support_buckets
from vaejax.training.orbax_output import SilentOrbax
from vaejax.training.train_step import TrainState

__all__ = [
    "CorruptCheckpointError",
    "restore_changed",
    "restore_checkpoint",
    "restore_params",
    "to_dict",
]

# Arrays that checkpoints of earlier versions have not: they start at zero.
_LATER = ("best", "best_step", "evaluations", "since_best", "total_skipped")


class CorruptCheckpointError(RuntimeError):
    """A checkpoint cannot be read, or its arrays differ from their checksums."""


def to_dict(state: TrainState) -> dict[str, PyTree]:
    """The state as nested dicts: parameters by name, the optimizers' state as numbered leaves."""
    leaves = jax.tree.leaves(state.opt_state)
    tree = state._asdict() | {"opt_state": {f"{i:04d}": leaf for i, leaf in enumerate(leaves)}}
    for name in ("ema", "best_params"):
        if not tree[name]:
            del tree[name]  # Orbax stores no empty dicts
    return tree


def _from_dict(tree: dict[str, PyTree], like: TrainState) -> TrainState:
    """The inverse of `to_dict`; `like` has the structure of the optimizers' state."""
    numbered = tree.get("opt_state", {})
    leaves = [numbered[name] for name in sorted(numbered)]
    opt_state = jax.tree.unflatten(jax.tree.structure(like.opt_state), leaves)
    return TrainState(**{"ema": {}, "best_params": {}, **tree, "opt_state": opt_state})


def restore_checkpoint(directory: Path, like: TrainState, step: int) -> TrainState:
    """Reads a checkpoint, onto any mesh.

    Args:
      directory: of the checkpoints.
      like: shapes, dtypes and shardings of the result.
      step: of the checkpoint.

    Raises:
      CorruptCheckpointError: a file cannot be read, or an array differs from its checksum.
      ValueError: the checkpoint has other arrays than `like`.
    """
    folder = directory / str(step)
    record = _record(folder)
    expected = to_dict(like)
    _check_fit(folder, expected, record)
    filled = {name: expected.pop(name) for name in _LATER if name not in record}
    tree = _restore_arrays(folder, expected)
    structures: list[PyTree] = [jax.tree.structure(t) for t in (tree, expected)]
    if structures[0] != structures[1]:
        raise _damage(folder, f"{folder / STATE / '_METADATA'} is damaged: it names other arrays")
    _check_checksums(folder, tree, record)
    zeros = {k: jax.device_put(jnp.zeros(s.shape, s.dtype), s.sharding) for k, s in filled.items()}
    return _from_dict({**tree, **zeros}, like)


def restore_params(directory: Path, step: int) -> Params:
    """The parameters of a checkpoint, without its model, as nested dicts of NumPy arrays.

    These are the moving average if one was kept.

    Args:
      directory: of the checkpoints.
      step: of the checkpoint.

    Raises:
      CorruptCheckpointError: a file cannot be read, or an array differs from its checksum.
      ValueError: an early version wrote the checkpoint, without the shapes of its arrays.
    """
    tree = _restore_as_written(directory / str(step))
    params: Params = jax.tree.map(np.asarray, tree.get("ema") or tree["params"])
    return params


def restore_changed(
    directory: Path, like: TrainState, step: int, opt_state: PyTree = None
) -> TrainState:
    """Reads a checkpoint that was written under other settings of the optimisation.

    Args:
      directory: of the checkpoints.
      like: of the present settings; the parameters have its shapes.
      step: of the checkpoint.
      opt_state: structure of the optimizers' state under those settings; None leaves it at zero,
        with the structure of `like`.

    Raises:
      CorruptCheckpointError: as from `restore_checkpoint`.
      ValueError: the parameters have other shapes.
    """
    folder = directory / str(step)
    tree = _restore_as_written(folder, like.step.sharding)
    params = {"params": tree["params"]}
    of_params = {k: v for k, v in _record(folder).items() if k.startswith("params/")}
    _check_fit(folder, {"params": like.params}, of_params)
    params |= {name: tree.get(name, {}) for name in ("ema", "best_params")}
    shardings = jax.tree.map(lambda s: s.sharding, like.params)
    placed = {k: jax.device_put(v, shardings) if v else {} for k, v in params.items()}
    if opt_state is None:
        optimizers = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), like.opt_state)
    else:
        numbered = tree.get("opt_state", {})
        leaves = [numbered[name] for name in sorted(numbered)]
        optimizers = jax.tree.unflatten(jax.tree.structure(opt_state), leaves)
    scalars = {
        name: tree.get(name, np.zeros(getattr(like, name).shape, getattr(like, name).dtype))
        for name in TrainState._fields
        if name not in ("params", "ema", "opt_state", "best_params")
    }
    scalars = {k: jax.device_put(v, getattr(like, k).sharding) for k, v in scalars.items()}
    return TrainState(**placed, opt_state=optimizers, **scalars)


def _restore_as_written(folder: Path, sharding: PyTree = None) -> dict[str, PyTree]:
    """All arrays of a checkpoint, by the names and shapes in its record."""
    record = _record(folder)
    if any(stored["shape"] is None for stored in record.values()):
        raise ValueError(f"{folder} is of a version that stored no shapes; train the run again")
    place = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    expected: dict[str, PyTree] = {}
    for name, stored in record.items():
        *parents, last = name.split("/")
        parent = expected
        for part in parents:
            parent = parent.setdefault(part, {})
        shape, dtype = tuple(stored["shape"]), jnp.dtype(stored["dtype"])
        parent[last] = jax.ShapeDtypeStruct(shape, dtype, sharding=place)
    tree = _restore_arrays(folder, expected)
    _check_checksums(folder, tree, record)
    return tree


def _record(folder: Path) -> dict[str, PyTree]:
    try:
        return read_record(folder / RECORD)
    except DamagedRecordError as error:
        raise _damage(folder, str(error)) from error
    except failures(folder) as error:
        reason = as_os_error(error).strerror or error
        raise _damage(folder, f"{folder / RECORD} cannot be read: {reason}") from error


def _check_checksums(folder: Path, tree: PyTree, record: Options) -> None:
    if damaged := check_arrays(tree, record):
        raise _damage(
            folder,
            f"{folder / STATE} is damaged: {len(damaged)} arrays differ from their checksums, "
            f"among them {damaged[0]}",
        )


def _check_fit(folder: Path, expected: PyTree, record: Options) -> None:
    """Raises ValueError if the checkpoint was written for another model."""
    try:
        missing = [name for name in missing_arrays(expected, record) if name not in _LATER]
        if missing:
            raise ValueError(f"it has no array {missing[0]}, which this model has")
    except ValueError as error:
        raise ValueError(
            f"the checkpoint {folder} is not of this model: {error}; give the config that it was "
            "trained with, or choose another --workdir"
        ) from None


def _restore_arrays(folder: Path, expected: PyTree) -> PyTree:
    silent = SilentOrbax()
    support_buckets(folder)
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            args = ocp.args.StandardRestore(expected)
            tree = checkpointer.restore(absolute(folder / STATE), args=args)
        silent.end()
        return tree
    except Exception as error:  # Orbax raises nothing more specific for damaged files
        texts = _messages(error)
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED: Out of memory" in texts[0]:
            raise
        if lost_process(error):  # the files are whole
            raise
        file = _damaged_file(folder, " ".join(texts))
        first = next(iter(texts[-1].splitlines()), type(error).__name__)[:160]
        raise _damage(folder, f"{file} cannot be read ({first})") from None


def _messages(error: BaseException | None) -> list[str]:
    """The messages of an error and of its causes."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return texts


def _damaged_file(folder: Path, text: str) -> Path:
    """The file of a checkpoint that an error is about; its folder of arrays if that is unclear."""
    state = folder / STATE
    named = re.search(re.escape(str(absolute(state))) + r"""/[^\s"'\]):,]+""", text)
    if named and (file := as_path(named.group())).is_file():
        return state / file.relative_to(absolute(state))
    for file in (state / "_METADATA", *sorted((state / "array_metadatas").glob("*"))):
        try:
            json.loads(file.read_bytes())
        except (ValueError, failures(folder)):
            return file
    return state


def _damage(folder: Path, what: str) -> CorruptCheckpointError:
    others = [s for s in checkpoint_steps(folder.parent) if str(s) != folder.name]
    remedy = (
        f"delete the folder {folder} to go back to checkpoint {others[-1]}"
        if others
        else f"copy {folder} from a backup, or delete it to train from the beginning"
    )
    return CorruptCheckpointError(f"checkpoint {folder.name}: {what}; {remedy}")
