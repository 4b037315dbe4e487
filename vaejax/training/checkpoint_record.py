"""What a checkpoint holds, stored beside its arrays: names, shapes, types and checksums.

The record has a checksum of its own, so that damage to it is noticed too. Earlier checkpoints hold
checksums by name alone, and are read as well.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding

from vaejax.core.types import Json, Options, PyTree

__all__ = [
    "DamagedRecordError",
    "check_arrays",
    "described_layout",
    "layout_of",
    "missing_arrays",
    "read_layout",
    "read_record",
    "record_of",
]

_FORMAT = 2


class DamagedRecordError(ValueError):
    """The record cannot be read, or differs from its checksum."""


def _by_name(tree: PyTree) -> dict[str, Json]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _checksum(array: PyTree) -> int | None:
    """CRC-32 of an array that is entirely on this process: all, on a single host; else None."""
    on_devices = isinstance(array, jax.Array)
    if on_devices and not (array.is_fully_addressable or array.is_fully_replicated):
        return None
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)


def _crc_of(arrays: Mapping[str, PyTree]) -> int:
    return zlib.crc32(json.dumps(arrays, sort_keys=True).encode())


def layout_of(tree: PyTree) -> dict[str, int]:
    """The number of processes, and the sizes above 1 of the mesh that a tree's arrays are on."""
    shardings = [getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(tree)]
    meshes = [s.mesh.shape for s in shardings if isinstance(s, NamedSharding)]
    axes = {name: size for name, size in (meshes[0] if meshes else {}).items() if size > 1}
    return {"processes": jax.process_count(), **axes}


def described_layout(layout: Mapping[str, int]) -> str:
    """A layout in words."""
    count = layout["processes"]
    axes = [f"mesh.{name}={size}" for name, size in layout.items() if name != "processes"]
    return f"{count} process{'es' if count > 1 else ''} ({', '.join(axes) or 'one device'})"


def read_layout(path: Path) -> dict[str, int]:
    """The layout in a stored record; `{}` if it has none, as in earlier versions."""
    stored = json.loads(path.read_bytes())
    layout = stored.get("layout") if isinstance(stored, dict) else None
    return layout if isinstance(layout, dict) and "processes" in layout else {}


def record_of(tree: PyTree, layout: Mapping[str, int] | None = None) -> dict[str, Json]:
    """The record of a tree of arrays, as JSON values.

    Args:
      tree: the arrays.
      layout: of the devices that they were on, see `layout_of`.
    """
    arrays = {
        name: {"shape": list(a.shape), "dtype": str(a.dtype), "crc32": _checksum(a)}
        for name, a in _by_name(tree).items()
    }
    record = {"format": _FORMAT, "arrays": arrays, "crc32": _crc_of(arrays)}
    return {**record, "layout": dict(layout)} if layout else record


def read_record(path: Path) -> dict[str, Json]:
    """The arrays of a stored record: name -> `shape`, `dtype` (None if unknown) and `crc32`.

    Raises:
      DamagedRecordError: the file is not such a record, or differs from its checksum.
      OSError: it cannot be read.
    """
    try:
        stored = json.loads(path.read_bytes())
    except ValueError:
        raise DamagedRecordError(f"{path} is damaged: it is not JSON") from None
    if not isinstance(stored, dict) or not stored:
        raise DamagedRecordError(f"{path} is damaged: it holds no checksums")
    if all(isinstance(v, int) for v in stored.values()) and "format" not in stored:
        return {k: {"shape": None, "dtype": None, "crc32": v} for k, v in stored.items()}
    arrays = stored.get("arrays")
    if not isinstance(arrays, dict) or _crc_of(arrays) != stored.get("crc32"):
        raise DamagedRecordError(f"{path} is damaged: it differs from its own checksum")
    return arrays


def missing_arrays(like: PyTree, record: Options) -> list[str]:
    """Names of arrays of `like` that the checkpoint does not hold.

    Raises:
      ValueError: it holds arrays of other shapes or types, or arrays that `like` has not.
    """
    expected = _by_name(like)
    for name, stored in record.items():
        if name not in expected:
            raise ValueError(f"it holds an array {name}, which this model has not")
        found, shape = expected[name], stored["shape"]
        if shape is not None and (
            tuple(shape) != tuple(found.shape) or stored["dtype"] != str(found.dtype)
        ):
            raise ValueError(
                f"its array {name} is {stored['dtype']} {shape}, but that of this model is "
                f"{found.dtype} {list(found.shape)}"
            )
    return sorted(expected.keys() - record.keys())


def check_arrays(tree: PyTree, record: Options) -> list[str]:
    """Names of restored arrays that differ from their checksums.

    With another number of processes, other arrays may have been entirely on one process; these have
    no checksum.
    """
    damaged = []
    for name, array in _by_name(tree).items():
        stored, actual = record[name]["crc32"], _checksum(array)
        if stored is not None and actual is not None and stored != actual:
            damaged.append(name)
    return damaged
