"""To which run a working directory belongs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from vaejax.training.logging import write_json

# What a longer run may change and still be the same run, as far as the shorter one went.
_FREE = (
    "train.steps",
    "train.eval_examples",
    "mesh.",
    "sample.",
    "evaluate.",
    "sweep.chunk",
    "sweep.figures",
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


def claim(workdir: Path, config: Config, *, create: bool) -> None:
    """Makes the working directory this run's own, or sees that it is.

    Raises:
      ConfigChangedError: it is another run's.
      FileNotFoundError: there is no run to look at.
    """
    path = workdir / "config.json"
    wanted = json.loads(json.dumps(config))
    if not path.exists():
        if not create:
            raise FileNotFoundError(f"{workdir} holds no run: train first, with --mode=train")
        if jax.process_index() == 0:
            workdir.mkdir(parents=True, exist_ok=True)
            write_json(path, wanted)
        return
    old, new = flatten(json.loads(path.read_text())), flatten(wanted)
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
            + "\nChoose another --workdir, or give the same configuration to go on"
        )
    if create and jax.process_index() == 0:
        write_json(path, wanted)
