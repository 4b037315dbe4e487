"""The page `docs/reference/config.md`, made from the declarations of the fields."""

import dataclasses
import inspect
import itertools
from collections.abc import Iterable

from vaejax.core.annotations import type_name
from vaejax.core.fields import Range
from vaejax.core.option_ranges import RANGES
from vaejax.experiment.config_sections import ConfigFields
from vaejax.experiment.declared_fields import Declared, declared_fields
from vaejax.experiment.text_options import CHOICES

__all__ = ["reference_page"]

_OPENING = """\
# Fields of a config

For users who look up a field. Generated from the declarations in the code by
`python -m vaejax.experiment.reference`. A flag `--config.SECTION.FIELD=VALUE` sets a field,
`--show_config` prints all of a config's with their values. Every field is checked before any data
is loaded: its name, its type and its range.
"""
_OPTIONS = """\
## model and players

The options of families, networks, likelihoods, priors, quantizers and optimizers are the arguments
of their functions, listed in the [Python reference](../api/index.md) with their types and
defaults. Options of these names have a range or choices:

| option | range or choices |
|---|---|
"""


def reference_page() -> str:
    """The page in Markdown."""
    free = ("model", "players")  # sections whose fields are those of functions
    rows = [row for row in declared_fields().values() if row.path.split(".")[-1] not in free]
    parts = [_OPENING]
    for section, group in itertools.groupby(
        sorted(rows, key=lambda row: row.path.rpartition(".")[0]),
        key=lambda row: row.path.rpartition(".")[0],
    ):
        parts.append(f"## {section or 'At the top'}\n\n{_title(section)}{_TABLE}{_rows(group)}")
    texts = {name: Range(choices=tuple(choices)) for name, choices in CHOICES.items()}
    ranges = sorted((name, str(limits)) for name, limits in (texts | dict(RANGES)).items())
    parts.append(_OPTIONS + "".join(f"| `{name}` | {text} |\n" for name, text in ranges))
    return "\n".join(parts)


_TABLE = "| field | default | values | meaning |\n|---|---|---|---|\n"


def _title(section: str) -> str:
    """The first line of the docstring of a section's class."""
    value: object = ConfigFields()
    for name in filter(None, section.split(".")):
        value = getattr(value, name)
    first = (inspect.getdoc(value) or "").partition("\n")[0]
    return f"{first}\n\n" if section and dataclasses.is_dataclass(value) else ""


def _rows(group: Iterable[Declared]) -> str:
    lines = []
    for row in group:
        limits = str(row.limits)
        values = limits if row.limits.choices else type_name(row.annotation).removeprefix("a ")
        if limits and not row.limits.choices:
            values = f"{values}, {limits}"
        text = row.help.replace("|", "\\|")
        lines.append(f"| `{row.path}` | `{row.default!r}` | {values} | {text} |\n")
    return "".join(lines)


if __name__ == "__main__":
    print(reference_page(), end="")
