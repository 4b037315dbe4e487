"""The fields of a config as flags: how `--show_config` prints them, and the checks of flags."""

import shlex
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vaejax.core.annotations import described, type_name
from vaejax.core.registry import near_names
from vaejax.experiment.check_options import kinds_of
from vaejax.experiment.declared_fields import Declared, declared_fields
from vaejax.experiment.workdir import flatten
from vaejax.training.renamed_fields import new_name

__all__ = ["check_flag", "shown_fields", "summary"]


def summary(declared: Declared) -> str:
    """Type, range and help of a field, as in "a whole number, at least 1: steps in all"."""
    limits = str(declared.limits)
    if declared.limits.choices:
        return f"{limits}: {declared.help}"
    kind = type_name(declared.annotation)
    return f"{kind}{f', {limits}' if limits else ''}: {declared.help}"


def shown_fields(config: Mapping[str, Any], *, helps: bool) -> list[str]:
    """One line for each field: the flag that sets it to its value, quoted for a shell.

    Args:
      config: as nested plain mappings.
      helps: whether a comment with type, range and help follows.
    """
    declared = declared_fields()
    lines = []
    for name, value in flatten(config).items():
        line = shlex.quote(f"--config.{name}={value}")
        if helps and name in declared:
            line = f"{line:<40}  # {summary(declared[name])}"
        lines.append(line)
    return lines


def check_flag(config: ConfigDict, flag: str, value: str | None) -> None:
    """Checks that a flag names a field of a config, and that its value can be one.

    Args:
      config: which the flag changes.
      flag: as in `config.train.steps`.
      value: the text after the equals sign, if there is one.

    Raises:
      ValueError: there is no such field, or it is a section.
    """
    here, path = config, "config"
    for part in flag.split(".")[1:]:
        name, bracket, _ = part.partition("[")
        new = new_name(path.removeprefix("config").removeprefix("."), name)
        if new and not (isinstance(here, ConfigDict) and name in here):
            raise ValueError(f"{path}.{name} is called config.{new} now")
        if not isinstance(here, ConfigDict):
            raise ValueError(_no_fields(config, path, here, name))
        if name not in here:
            raise ValueError(f"{path} has no field {near_names(name, here.keys())}")
        here, path = here[name], f"{path}.{name}"
        if bracket and not isinstance(here, list | tuple):
            raise ValueError(f"{path}[...]: {path} is {described(here)}, which has no elements")
    if isinstance(here, ConfigDict) and value is not None and not value.lstrip().startswith("{"):
        raise ValueError(_is_section(path, here, value))


def _no_fields(config: ConfigDict, path: str, value: object, name: str) -> str:
    """The error of a flag `path.name` where the config has a value instead of fields."""
    text = f"{path} has no field {name!r}: it is {described(value)}"
    section, _, option = path.removeprefix("config.").rpartition(".")
    kinds = kinds_of(str(config.get("family")), option) if section == "model" else None
    if kinds is None:
        return f"{text}, not a section; set --{path}=VALUE"
    what, names = kinds
    return (
        f"{text}, a {what} by its name alone; set another by --{path}=NAME (known: "
        f"{', '.join(names)}), or give it settings in a config file, as in "
        f'{path} = {{"kind": {value!r}, ...}}'
    )


def _is_section(path: str, section: ConfigDict, value: str) -> str:
    """The error of a flag that gives a section a value."""
    if "kind" in section:
        return f"{path} has settings; write --{path}.kind={value} (now {section['kind']!r})"
    return (
        f"{path} is a section, found {value!r}; set one of its fields, --{path}.FIELD=VALUE "
        f"(known: {', '.join(sorted(section.keys()))})"
    )
