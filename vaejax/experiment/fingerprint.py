"""What a run was trained on: a fingerprint of its data and of its first stage, `fingerprint.json`.

A run that resumes with other images under the same path, or on a first stage that was trained
again, would be neither the old run nor a new one.
"""

import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import vaejax
from vaejax.core.files import read_json, write_json
from vaejax.core.game import Params
from vaejax.core.types import Options, Setting
from vaejax.data import Source
from vaejax.experiment.workdir import FINGERPRINT, config_digest
from vaejax.training.two_stage import FirstStage

__all__ = ["DataChangedError", "check_first_stage", "fingerprint", "keep_fingerprint"]

_ROWS = 64  # of a split, evenly spaced
_BYTES = 2**24  # at most, of these rows


class DataChangedError(ValueError):
    """The data or the first stage of a run are others than when it was started."""


def _of_split(source: Source) -> dict[str, Setting]:
    """Size, stored fields, and a checksum of rows that are evenly spread over a split."""
    first = source.take(np.zeros(1, np.int32))
    row_bytes = max(1, sum(value.nbytes for value in first.values()))
    count = max(1, min(_ROWS, source.size, _BYTES // row_bytes))
    rows = source.take(np.linspace(0, source.size - 1, count).astype(np.int32))
    checksum = 0
    for name in sorted(rows):
        checksum = zlib.crc32(np.ascontiguousarray(rows[name]).tobytes(), checksum)
    fields = {k: f"{v.dtype}{list(v.shape[1:])}" for k, v in sorted(first.items())}
    return {"size": source.size, "fields": fields, "checksum": f"{checksum:08x}"}


def _of_params(params: Params) -> str:
    """A checksum of parameters and their names."""
    checksum = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        checksum = zlib.crc32(jax.tree_util.keystr(path).encode(), checksum)
        local = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
        if local or leaf.is_fully_replicated:
            checksum = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), checksum)
    return f"{checksum:08x}"


def _of_first_stage(first: FirstStage) -> dict[str, Setting]:
    return {"parameters": _of_params(first.params)}


def fingerprint(
    config: Options,
    train: Source | None,
    held_out: Source,
    first: FirstStage | None = None,
    validation: Source | None = None,
    initial: Params | None = None,
) -> dict[str, Setting]:
    """The content of `fingerprint.json`.

    Args:
      config: of the run.
      train: the training split; None for that of a second stage, which is made from the first.
      held_out: the evaluation split of the data.
      first: the first stage, if there is one.
      validation: the validation split, if there is one.
      initial: the parameters of `init_from`, if these are used.
    """
    splits = {"eval": held_out} if train is None else {"train": train, "eval": held_out}
    splits |= {} if validation is None else {"validation": validation}
    result: dict[str, Setting] = {"version": vaejax.__version__, "config": config_digest(config)}
    result["data"] = {name: _of_split(source) for name, source in splits.items()}
    if first is not None:
        result["first_stage"] = _of_first_stage(first)
    if initial:
        result["init_from"] = {"parameters": _of_params(initial)}
    return result


def _difference(stored: Any, actual: Any, path: str = "") -> str:
    """The first difference of two JSON values, `''` without one; missing parts are not compared."""
    if isinstance(stored, Mapping) and isinstance(actual, Mapping):
        for name in sorted(stored.keys() & actual.keys()):
            if text := _difference(stored[name], actual[name], f"{path} {name}".strip()):
                return text
        return ""
    return "" if stored == actual else f"{path} was {stored}, is {actual}"


def keep_fingerprint(workdir: Path, actual: Options, *, train: bool) -> None:
    """Stores the fingerprint of a run that starts; compares that of one that goes on.

    Args:
      workdir: of the run.
      actual: from `fingerprint`.
      train: whether the run is trained; else nothing is written, and other data is a warning, since
        a run may be evaluated on them.

    Raises:
      DataChangedError: the data or the first stage were replaced.
    """
    path = workdir / FINGERPRINT
    stored = read_json(path) if path.exists() else {}
    if text := _difference(stored.get("first_stage", {}), actual.get("first_stage", {})):
        raise _first_stage_changed(workdir, text)
    if text := _difference(stored.get("init_from", {}), actual.get("init_from", {})):
        raise DataChangedError(
            f"init_from of {workdir} has other parameters than when the run was started, which has "
            f"no checkpoint yet: {text}; choose another --workdir"
        )
    if text := _difference(stored.get("data", {}), actual["data"]):
        text = f"the data of {workdir} are not those that the run was started with: {text}"
        if train:
            raise DataChangedError(
                f"{text}; put them back to resume, or choose another --workdir for the new data"
            )
        print(f"warning: {text}", file=sys.stderr)
    if train and not stored and jax.process_index() == 0:
        write_json(path, actual)


def _first_stage_changed(workdir: Path, text: str) -> DataChangedError:
    return DataChangedError(
        f"the first stage of {workdir} is not the one that it was trained for: {text}; put that "
        "one back, or choose another --workdir"
    )


def check_first_stage(workdir: Path, first: FirstStage) -> None:
    """Raises DataChangedError unless a second stage was trained for this first stage."""
    path = workdir / FINGERPRINT
    stored = read_json(path).get("first_stage") if path.exists() else None
    if text := _difference(stored or {}, _of_first_stage(first)):
        raise _first_stage_changed(workdir, text)
