"""Parameters that a run starts from: of a trained run, a file, or another library's checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vaejax.core.files import read_json
from vaejax.core.game import Params
from vaejax.core.paths import as_path
from vaejax.core.registry import near_names
from vaejax.core.types import Options, PyTree
from vaejax.experiment.build import names_in
from vaejax.export.safetensors import load_params
from vaejax.interop import is_checkpoint, read_params
from vaejax.training.checkpoint_index import best_step, checkpoint_steps
from vaejax.training.checkpoint_reader import restore_params
from vaejax.training.earlier_versions import completed
from vaejax.training.restore import default_checkpoint, ranking_of

__all__ = ["InitialParams", "initial_params", "match_params"]


class InitialParams(NamedTuple):
    """The parameters that are taken from elsewhere.

    Attributes:
      values: nested dicts that lack what is not taken.
      taken: names of groups or arrays, with the number of arrays.
      left: the parameters that are not taken and why, and what the other model has beside.
    """

    values: Params
    taken: list[str]
    left: list[str]


def initial_params(config: Options, shapes: Params) -> InitialParams | None:
    """The parameters that `init_from` and `init_groups` of a config name; prints what was taken.

    Args:
      config: of the run that starts.
      shapes: of its parameters.

    Returns:
      None if the config names none.

    Raises:
      FileNotFoundError: there is no such run, checkpoint or file.
      ValueError: the file cannot be read, or nothing of it fits.
    """
    if not (text := config.get("init_from", "")):
        if config.get("init_groups", ""):
            raise ValueError("init_groups needs init_from, which names where they come from")
        return None
    source, of = _read(as_path(text).expanduser(), shapes)
    found = match_params(shapes, source, names_in(config.get("init_groups", "")))
    if jax.process_index() == 0:
        print(f"init_from={text}{of}")
        print(f"  taken: {_listed(found.taken)}")
        print(f"  not taken: {_listed(found.left)}", flush=True)
    return found


def _listed(names: list[str], at_most: int = 8) -> str:
    more = f", and {len(names) - at_most} more" if len(names) > at_most else ""
    return (", ".join(names[:at_most]) or "nothing") + more


def _of_other_library(path: Path, shapes: Params) -> tuple[Params, str]:
    """The parameters of a checkpoint that `vaejax.interop` reads, and its class."""
    form, _, params = read_params(path)
    own = shapes.get("decoder", {})
    if isinstance(own, Mapping) and own.keys() == {"network", "constants"}:
        params["decoder"] = {"network": params["decoder"]}  # beside the likelihood's own scalars
    return params, f", {form.name} of {form.library}"


def _read(path: Path, shapes: Params) -> tuple[Params, str]:
    """The parameters of a run, a file or a checkpoint of another library, and which these are."""
    if path.is_file():
        try:
            return load_params(path), ""
        except ImportError:
            raise
        except Exception as error:  # that of the package for files of another format
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"init_from={path} is not a safetensors file: {line}") from error
    if not path.exists():
        raise FileNotFoundError(f"init_from={path} does not exist")
    if is_checkpoint(path):
        return _of_other_library(path, shapes)
    directory = path / "checkpoints"
    if not checkpoint_steps(directory):
        raise FileNotFoundError(f"init_from={path} has no checkpoint; name a finished run")
    config = completed(read_json(path / "config.json"))
    if "sweep" in config:
        raise ValueError(
            f"init_from={path} holds a sweep; --config.sweep.index=N --mode=evaluate makes model N "
            f"a run in {path / 'models' / 'N'}, which can be named"
        )
    newest, step = checkpoint_steps(directory)[-1], None
    if default_checkpoint(config) == "best":
        step = best_step(directory, ranking_of(config))
    which = "the best by validation" if step else "the newest"
    return restore_params(directory, step or newest), f", step {step or newest}, {which}"


def _flat(tree: PyTree, path: str = "") -> dict[str, PyTree]:
    if not isinstance(tree, Mapping):
        return {path: tree}
    flat: dict[str, PyTree] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{path}/{name}" if path else str(name))
    return flat


def match_params(shapes: Params, source: Params, groups: tuple[str, ...] = ()) -> InitialParams:
    """The parameters of another model that have the name and the shape of one of this model.

    Args:
      shapes: of this model's parameters.
      source: the other model's parameters.
      groups: of parameters that are taken; `()` for all.

    Raises:
      ValueError: a group does not exist in both models, or nothing of it fits.
    """
    for group in groups:
        for params, where in ((shapes, "this model"), (source, "the model of init_from")):
            if group not in params:
                raise ValueError(f"init_groups: {where} has no group {near_names(group, params)}")
    own, other = _flat(shapes), _flat(source)
    values: Params = {}
    counts: dict[str, list[int]] = {}
    left = []
    for name, like in own.items():
        group = name.partition("/")[0]
        count = counts.setdefault(group, [0, 0])
        count[1] += 1
        if groups and group not in groups:
            continue
        if name not in other:
            left.append(f"{name} (not in the other model)")
        elif np.shape(other[name]) != tuple(like.shape):
            there, here = list(np.shape(other[name])), list(like.shape)
            left.append(f"{name} (shape {there} there, {here} here)")
        else:
            count[0] += 1
            parent = values
            *parents, last = name.split("/")
            for part in parents:
                parent = parent.setdefault(part, {})
            parent[last] = np.asarray(other[name])
    empty = [group for group in groups if not counts[group][0]]
    if empty or not any(fits for fits, _ in counts.values()):
        what = f"of the group {empty[0]!r}" if empty else "of the parameters"
        reason = f"; {left[0]}" if left else ""
        raise ValueError(f"init_from: none {what} has the same name and shape here{reason}")
    taken = [
        f"{group} ({fits} arrays)" if fits == total else f"{group} ({fits} of {total} arrays)"
        for group, (fits, total) in counts.items()
        if fits
    ]
    left += [f"{group} (not in init_groups)" for group in shapes if groups and group not in groups]
    further = [g for g in source if g not in shapes]
    left += [f"{group} (only in the other model)" for group in further]
    return InitialParams(values, taken, left)
