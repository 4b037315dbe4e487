"""Checks that a working directory belongs to a config."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from vaejax.core.files import write_json

__all__ = ["Config", "ConfigChangedError", "acquire_workdir", "flatten"]

# Fields that may differ when a run is resumed or evaluated.
_FREE = (
    "imports",
    "train.steps",
    "train.eval_examples",
    "mesh.",
    "sample.",
    "evaluate.",
    "sweep.chunk",
    "sweep.metrics",
)

Config = Mapping[str, Any]


class ConfigChangedError(ValueError):
    """The working directory belongs to a run with another configuration."""


def flatten(config: Config, prefix: str = "") -> dict[str, Any]:
    """`{"train": {"steps": 3}}` -> `{"train.steps": 3}`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def acquire_workdir(workdir: Path, config: Config, *, create: bool) -> None:
    """Creates a run's working directory, or checks that an existing one belongs to its config.

    Args:
      workdir: of the run.
      config: of the run.
      create: whether a directory without a run becomes this run's.

    Raises:
      ConfigChangedError: it belongs to a run with another configuration.
      FileNotFoundError: it holds no run, and none may be created.
    """
    path = workdir / "config.json"
    new_config = json.loads(json.dumps(config))
    if not path.exists():
        if not create:
            raise FileNotFoundError(f"{workdir} has no run; train first, with --mode=train")
        if jax.process_index() == 0:
            workdir.mkdir(parents=True, exist_ok=True)
            write_json(path, new_config)
        return
    old, new = flatten(json.loads(path.read_text())), flatten(new_config)
    changed = [
        f"  {name}: {old.get(name, 'absent')!r} -> {new.get(name, 'absent')!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, "absent") != new.get(name, "absent")
        and not (name + ".").startswith(tuple(f if f.endswith(".") else f + "." for f in _FREE))
    ]
    if changed:
        raise ConfigChangedError(
            f"{workdir} belongs to a run with another configuration:\n"
            + "\n".join(changed)
            + "\nChoose another --workdir, or give the same configuration to resume"
        )
    if create and jax.process_index() == 0:
        write_json(path, new_config)
