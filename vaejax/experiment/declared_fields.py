"""The declared fields of a config: their defaults, and the checks of their values."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from vaejax.core.annotations import described
from vaejax.core.fields import Range, check_value, help_of, range_of_field
from vaejax.core.registry import near_names, registered
from vaejax.core.types import Setting
from vaejax.experiment.config_sections import ConfigFields, SampleFields, SecondStageFields

__all__ = [
    "Declared",
    "check_sections",
    "declared_fields",
    "default_values",
    "second_stage_defaults",
    "without_codes",
]

_OF_CODES = frozenset(("top_k", "top_p"))  # fields of `sample` for priors over codes alone
# Fields that a config has only if it gives them.
_ABSENT = (
    *("second_stage", "first_stage", "first_stage_step"),
    *(f"sample.{name}" for name in _OF_CODES),
)


class Declared(NamedTuple):
    """One declared field: its path, type, range, default and help."""

    path: str
    annotation: Setting
    limits: Range
    default: Setting
    help: str


def declared_fields() -> dict[str, Declared]:
    """Dotted path -> declaration, of the fields of all sections but `model` and `players`."""
    return {row.path: row for row in _declared(ConfigFields(), "")}


def _declared(section: Setting, prefix: str) -> Iterator[Declared]:
    for declared in dataclasses.fields(section):
        value, path = getattr(section, declared.name), f"{prefix}{declared.name}"
        if dataclasses.is_dataclass(value):
            yield from _declared(value, f"{path}.")
        else:
            limits = range_of_field(declared)
            yield Declared(path, declared.type, limits, value, help_of(declared))


def second_stage_defaults() -> dict[str, Setting]:
    """The section `second_stage` with its defaults, for configs that have one."""
    return dataclasses.asdict(SecondStageFields())


def without_codes(sample: Mapping[str, Setting]) -> dict[str, Setting]:
    """The section `sample` without its fields for priors over codes."""
    return {name: value for name, value in sample.items() if name not in _OF_CODES}


def default_values(family: str) -> dict[str, Setting]:
    """The defaults of all sections as nested dicts, without fields that only some configs have.

    Args:
      family: of the config.
    """
    config = {**dataclasses.asdict(ConfigFields()), "family": family}
    for path in _ABSENT:
        *sections, name = path.split(".")
        section = config
        for part in sections:
            section = section[part]
        del section[name]
    return config


def check_sections(config: Mapping[str, Setting]) -> None:
    """Checks every field of a config but those of `model` and `players`.

    Args:
      config: as nested plain mappings; sections may be missing.

    Raises:
      ValueError: a field is unknown, of another type or out of its range.
    """
    _check_section(config, ConfigFields(), "", _sampling(config))


def _sampling(config: Mapping[str, Setting]) -> frozenset[str] | None:
    """The fields of `sample` that a family takes; None for any, outside of the library."""
    name = str(config.get("family"))
    family = registered("family").get(name)
    if not getattr(family, "__module__", "vaejax").startswith("vaejax."):
        return None
    every = {f.name for f in dataclasses.fields(SampleFields)}
    of_codes = name == "code_prior" or "second_stage" in config
    return frozenset(every if of_codes else every - _OF_CODES)


def _check_section(
    config: Setting, section: Setting, path: str, sampling: frozenset[str] | None
) -> None:
    where = f"config.{path}" if path else "config"
    if not isinstance(config, Mapping):
        raise ValueError(f"{where} must be a section with fields, found {described(config)}")
    declared = {f.name: f for f in dataclasses.fields(section)}
    if path == "sample" and sampling is not None:
        declared = {name: f for name, f in declared.items() if name in sampling}
    for name, value in config.items():
        field_path = f"{path}.{name}" if path else str(name)
        if name not in declared:
            if field_path == "version" or (path == "sample" and sampling is None):
                continue
            raise ValueError(f"{where} has no field {near_names(str(name), declared)}")
        default = getattr(section, name)
        if dataclasses.is_dataclass(default):
            _check_section(value, default, field_path, sampling)
        else:
            limits = range_of_field(declared[name])
            check_value(field_path, value, declared[name].type, limits)
