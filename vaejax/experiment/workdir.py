"""Working directories: whose they are, who writes to them, and the config that they hold."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

import vaejax
from vaejax.core.files import read_json, write_json
from vaejax.core.paths import check_reachable
from vaejax.core.types import Options, Setting
from vaejax.training.earlier_versions import completed, of_its_time
from vaejax.training.history import check_allowed, is_changeable, is_in, record_change
from vaejax.training.lock import lock

__all__ = [
    "FINGERPRINT",
    "Config",
    "ConfigChangedError",
    "acquire_workdir",
    "changed_fields",
    "check_is_ours",
    "config_digest",
    "config_of_its_time",
    "flatten",
    "listed_changes",
]

# Fields that may differ when a run is resumed or evaluated.
_FREE = (
    "imports",
    "train.steps",
    "train.eval_examples",
    "data.max_bytes",
    "data.max_resident_bytes",
    "data.workers",
    "mesh.",
    "sample.",
    "evaluate.",
    "log.",
    "second_stage.",
    "sweep.chunk",
    "sweep.metrics",
    "version",
)
# What a run writes; in a directory that is not a run's, they are another program's.
_OUTPUTS = ("metrics.jsonl", "checkpoints", "evaluation.json", "sweep.json", "tb", "data.json")
FINGERPRINT = "fingerprint.json"  # which no other program writes

Config = Options


class ConfigChangedError(ValueError):
    """The working directory belongs to a run with another configuration."""


def flatten(config: Config, prefix: str = "") -> dict[str, Setting]:
    """`{"train": {"steps": 3}}` -> `{"train.steps": 3}`."""
    flat: dict[str, Setting] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _is_free(name: str) -> bool:
    """Whether a field may differ when a run is resumed or evaluated."""
    return (name + ".").startswith(tuple(f if f.endswith(".") else f + "." for f in _FREE))


def _fixed(config: Config) -> dict[str, Setting]:
    """The fields that may not differ, flat, as JSON values."""
    flat = flatten(json.loads(json.dumps(config)))
    return {name: v for name, v in flat.items() if not _is_free(name)}


def config_of_its_time(workdir: Path, config: Config) -> Config:
    """The given config; for the run of an earlier version, with the values of its time.

    Fields that the run's `config.json` lacks, since they did not exist, describe how that version
    behaved, and not today's defaults.
    """
    path = workdir / "config.json"
    return of_its_time(config, read_json(path), _is_free) if path.exists() else config


def config_digest(config: Config) -> str:
    """Identifies the fields of a config that may not differ when a run is resumed."""
    text = json.dumps(_fixed(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_is_ours(workdir: Path) -> None:
    """Checks that a directory is empty, new, or that of a run. Changes nothing.

    Raises:
      ValueError: it is a file, or another program's.
      OSError: it is in a bucket that cannot be read.
    """
    check_reachable(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"--workdir={workdir} is a file; choose a directory")
    path = workdir / "config.json"
    if path.exists():
        config = read_json(path)
        if not {"family", "data", "model", "players", "train"} <= config.keys():
            raise ValueError(
                f"{path} is not the config of a vaejax run: {workdir} belongs to another program; "
                "choose another --workdir"
            )
        return
    foreign = [name for name in _OUTPUTS if (workdir / name).exists()]
    if foreign and not (workdir / FINGERPRINT).exists():
        raise ValueError(
            f"{workdir} has {foreign[0]} but no config.json, so it is not the directory of a "
            "vaejax run; choose another --workdir (or put its config.json back)"
        )


def acquire_workdir(
    workdir: Path, config: Config, *, create: bool, allow_change: Sequence[str] = ()
) -> None:
    """Locks a run's working directory to train in it, or checks that it belongs to a config.

    Args:
      workdir: of the run.
      config: of the run.
      create: whether to train there; a directory without a run becomes this run's.
      allow_change: fields with which a run may go on although their values differ; the change is
        recorded in `history.jsonl`.

    Raises:
      ConfigChangedError: it belongs to a run with another configuration.
      FileNotFoundError: it holds no run, and none may be created.
      LockedError: another process trains there.
      ValueError: it belongs to another program.
    """
    check_is_ours(workdir)
    path = workdir / "config.json"
    exists = path.exists()
    if not exists and not create and not (workdir / FINGERPRINT).exists():
        raise FileNotFoundError(f"{workdir} has no run; train first, with --mode=train")
    if create:
        lock(workdir)
    if exists:
        stored = completed(read_json(path))
        _check_unchanged(workdir, config, stored, allow_change)
        if create and jax.process_index() == 0:
            record_change(workdir, stored, changed_fields(stored, config))
    elif (workdir / FINGERPRINT).exists():
        _check_digest(workdir, config, create)
    if create and jax.process_index() == 0:
        write_json(path, {**config, "version": vaejax.__version__})


def changed_fields(stored: Config, config: Config) -> dict[str, tuple[Setting, Setting]]:
    """The fields that differ though they may not by themselves: name -> (stored, given).

    Args:
      stored: the content of `config.json`.
      config: that is given.
    """
    old, new = _fixed(stored), _fixed(config)
    if stored.get("version") != vaejax.__version__:
        # Fields of models that came later: the given config has their values.
        old = {**new, **old}
    pairs = {name: (old.get(name, "absent"), new.get(name, "absent")) for name in {**old, **new}}
    return {name: pair for name, pair in sorted(pairs.items()) if pair[0] != pair[1]}


def listed_changes(changed: Mapping[str, tuple[Setting, Setting]]) -> str:
    """The fields of `changed_fields`, one a line; `''` without any."""
    return "\n".join(f"  {name}: {old!r} -> {new!r}" for name, (old, new) in changed.items())


def _check_unchanged(
    workdir: Path, config: Config, stored: Config, allow_change: Sequence[str]
) -> None:
    changed = changed_fields(stored, config)
    check_allowed(allow_change, {**flatten(stored), **flatten(config)})
    refused = {name: pair for name, pair in changed.items() if not is_in(name, allow_change)}
    if not refused:
        return
    listed = listed_changes(refused)
    remedy = ""
    if all(map(is_changeable, refused)):
        remedy = f", or go on with the new values with --allow_change={','.join(refused)}"
    raise ConfigChangedError(
        f"{workdir} belongs to a run with another configuration:\n{listed}"
        f"\nChoose another --workdir, or give the same configuration to resume{remedy}"
    )


def _check_digest(workdir: Path, config: Config, create: bool) -> None:
    """What can be checked of a run whose config.json is missing."""
    stored, given = read_json(workdir / FINGERPRINT).get("config"), config_digest(config)
    if stored == given:
        return
    if create:
        raise ConfigChangedError(
            f"{workdir / 'config.json'} is missing, and the run had another configuration than the "
            "given one; give that configuration, which writes the file back, or choose another "
            "--workdir"
        )
    print(
        f"warning: {workdir / 'config.json'} is missing, and the run was trained with another "
        "configuration than the given one, which is used",
        file=sys.stderr,
    )
