"""Writing and reading parameters as safetensors files."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from vaejax.core.files import write_bytes
from vaejax.core.game import Params
from vaejax.core.types import PyTree

__all__ = ["load_params", "need", "save_params", "serialize_params"]

_EMPTY = "empty"  # metadata: paths of subtrees without parameters


def need(module: str, extra: str = "export") -> ModuleType:
    """Imports a module that only exports need.

    Args:
      module: its name.
      extra: of the library's package, that installs it.

    Raises:
      ImportError: it is not installed.
    """
    try:
        return __import__(module, fromlist=["_"])
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(
            f"an export needs {name}: pip install 'vaejax[{extra}]' (or {name!r})"
        ) from error


def _leaves(tree: PyTree, path: str = "") -> Iterator[tuple[str, PyTree]]:
    """Paths and arrays of nested dicts; the path of an empty dict, and None."""
    if not isinstance(tree, Mapping):
        yield path, np.asarray(tree, order="C")
        return
    if not tree:
        yield path, None
    for name, value in tree.items():
        if not isinstance(name, str) or "/" in name or not name:
            raise ValueError(f"a group or array of parameters cannot be named {name!r} in a file")
        yield from _leaves(value, f"{path}/{name}" if path else name)


def save_params(path: Path, params: Params, **about: object) -> None:
    """Writes nested dicts of arrays as a safetensors file, flat, as in `encoder/Conv_0/kernel`.

    Args:
      path: of the file.
      params: nested dicts of any depth.
      **about: further metadata, stored as strings.

    Raises:
      ImportError, ValueError: see `serialize_params`.
      WriteError: the file cannot be written.
    """
    write_bytes(path, serialize_params(params, **about))


def serialize_params(params: Params, **about: object) -> bytes:
    """The content of the file that `save_params` writes.

    Args:
      params: nested dicts of any depth.
      **about: further metadata, stored as strings.

    Raises:
      ImportError: safetensors is not installed.
      ValueError: a name contains a slash, or the parameters are not nested dicts of arrays.
    """
    numpy = need("safetensors.numpy")
    flat = dict(_leaves(params))
    arrays = {name: a for name, a in flat.items() if a is not None}
    for name, array in arrays.items():
        if array.dtype == object:
            raise ValueError(f"parameters {name!r} must be nested dicts of arrays")
    empty = [name for name, a in flat.items() if a is None]
    notes = {name: str(value) for name, value in about.items()} | {_EMPTY: json.dumps(empty)}
    # Not with save_file, whose files are readable only by their owner.
    return numpy.save(arrays, metadata=notes)


def load_params(path: Path) -> Params:
    """The nested dicts of NumPy arrays that `save_params` wrote, bit-for-bit.

    Raises:
      ImportError: safetensors is not installed.
    """
    params: Params = {}
    with need("safetensors").safe_open(str(path), framework="numpy") as file:
        leaves = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        notes = file.metadata() or {}
    for name, leaf in [*leaves.items(), *((n, {}) for n in json.loads(notes.get(_EMPTY, "[]")))]:
        *groups, last = name.split("/")
        parent = params
        for group in groups:
            parent = parent.setdefault(group, {})
        parent[last] = leaf
    return params
