"""Parameters as a safetensors file, which much else can read, and back."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vaejax.core.game import Params

_EMPTY = "empty"  # metadata: paths of subtrees without parameters


def need(module: str) -> ModuleType:
    """A module that only exports need.

    Raises:
      ImportError: it is not installed.
    """
    try:
        return __import__(module, fromlist=["_"])
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(
            f"an export needs {name}: pip install 'vaejax[export]' (or {name!r})"
        ) from error


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and arrays of nested dicts; of an empty dict its path and None."""
    if not isinstance(tree, Mapping):
        yield path, np.asarray(tree, order="C")
        return
    if not tree:
        yield path, None
    for name, value in tree.items():
        if not isinstance(name, str) or "/" in name or not name:
            raise ValueError(f"a group or array of parameters cannot be named {name!r} in a file")
        yield from _leaves(value, f"{path}/{name}" if path else name)


def save_params(path: Path, params: Params, **about: Any) -> None:
    """Writes nested dicts of arrays as a safetensors file, flat, as in `encoder/Conv_0/kernel`.

    Args:
      path: of the file.
      params: to any depth.
      **about: further metadata, kept as strings.

    Raises:
      ImportError: safetensors is not installed.
      ValueError: a name has a slash in it, or the parameters are no dicts of arrays.
    """
    numpy = need("safetensors.numpy")
    flat = dict(_leaves(params))
    arrays = {name: a for name, a in flat.items() if a is not None}
    for name, array in arrays.items():
        if array.dtype == object:
            raise ValueError(f"parameters {name!r} should be nested dicts of arrays")
    empty = [name for name, a in flat.items() if a is None]
    notes = {name: str(value) for name, value in about.items()} | {_EMPTY: json.dumps(empty)}
    # Not by save_file, whose files only their owner may read.
    path.write_bytes(numpy.save(arrays, metadata=notes))


def load_params(path: Path) -> Params:
    """The nested dicts of NumPy arrays that `save_params` wrote, to the bit.

    Raises:
      ImportError: safetensors is not installed.
    """
    params: Params = {}
    with need("safetensors").safe_open(str(path), framework="numpy") as file:
        leaves = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        notes = file.metadata() or {}
    for name, leaf in [*leaves.items(), *((n, {}) for n in json.loads(notes.get(_EMPTY, "[]")))]:
        *groups, last = name.split("/")
        here = params
        for group in groups:
            here = here.setdefault(group, {})
        here[last] = leaf
    return params
