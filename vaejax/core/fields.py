"""Declared fields of configs: type, range or choices, unit and help, and the check of a value.

A section of a config is a frozen dataclass whose fields are made by `field`. From this one
declaration come the defaults, the checks, the help of `--show_config` and the reference page.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from vaejax.core.annotations import accepts, described, type_name
from vaejax.core.types import Setting

__all__ = ["ANY", "Range", "check_fields", "check_value", "field", "help_of", "range_of_field"]

_HELP, _RANGE = "help", "range"
_TECHNICAL = 1000  # larger upper limits are those of machines


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that a field may have, besides its type.

    Attributes:
      low: the least value.
      high: the largest value.
      above: whether `low` itself is excluded.
      below: whether `high` itself is excluded.
      choices: the only values; empty for any in the range.
      texts: the only texts, of a field that is a number or a text; empty for any.
      zero: what 0 means where it is allowed though it is not in the range; empty: it is not.
      reason: for the upper limit, where it is not that of the quantity itself.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    choices: tuple[Setting, ...] = ()
    zero: str = ""
    reason: str = ""
    texts: tuple[str, ...] = ()

    def contains(self, value: Setting) -> bool:
        """Whether a value, of the right type, is allowed."""
        if self.choices:
            return any(value == choice for choice in self.choices)
        if self.zero and value == 0:
            return True
        over = value > self.low if self.above else value >= self.low
        return bool(over and (value < self.high if self.below else value <= self.high))

    def __str__(self) -> str:
        """As in "at least 1" or "in [0, 1)"."""
        if self.choices:
            *first, last = map(str, self.choices)
            return f"{', '.join(first)} or {last}" if first else last
        low, high = (f"{limit:.13g}" for limit in (self.low, self.high))
        if math.isinf(self.low) and math.isinf(self.high):
            text = ""
        elif math.isinf(self.high):
            text = f"more than {low}" if self.above else f"at least {low}"
        elif self.high > _TECHNICAL:
            text = f"{'more than' if self.above else 'at least'} {low} and at most {high}"
        else:
            text = f"in {'(' if self.above else '['}{low}, {high}{')' if self.below else ']'}"
        return f"{text}, or 0 for {self.zero}" if self.zero else text

    def demand(self, value: Setting) -> str:
        """What of the range a value does not meet."""
        if self.choices or isinstance(value, str) or self.high <= _TECHNICAL:
            return str(self)
        if value > self.high:
            reason = f" ({self.reason})" if self.reason else ""
            return f"at most {self.high:.13g}{reason}"
        return str(dataclasses.replace(self, high=math.inf))


ANY = Range()  # any finite number, any text


def field(
    default: Setting,
    help: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: bool = False,
    below: bool = False,
    choices: tuple[Setting, ...] = (),
    zero: str = "",
    reason: str = "",
) -> Any:
    """A field of a section: a `dataclasses.field` with its range and help.

    Args:
      default: value.
      help: one line, with the unit.
      low: see `Range`, as the other arguments.
      high: the largest value.
      above: whether `low` is excluded.
      below: whether `high` is excluded.
      choices: the only values.
      zero: what 0 means, where it is not in the range.
      reason: for the upper limit.

    A section within a section is a `dataclasses.field(default_factory=...)`.
    """
    limits = Range(low, high, above, below, choices, zero, reason)
    metadata = {_HELP: help, _RANGE: limits}
    return dataclasses.field(default=default, metadata=metadata)


def help_of(declared: "dataclasses.Field[Any]") -> str:
    """The help of a field, one line."""
    return str(declared.metadata.get(_HELP, ""))


def range_of_field(declared: "dataclasses.Field[Any]") -> Range:
    """The range of a field."""
    found = declared.metadata.get(_RANGE)
    return found if isinstance(found, Range) else ANY


def check_fields(section: object, name: str) -> None:
    """Checks every field of a section against its declaration.

    Args:
      section: an instance of a dataclass.
      name: of the section in a config.

    Raises:
      ValueError: a value has another type or is out of its range.
    """
    for declared in dataclasses.fields(section):  # type: ignore[arg-type]
        value = getattr(section, declared.name)
        if not dataclasses.is_dataclass(value):
            path = f"{name}.{declared.name}" if name else declared.name
            check_value(path, value, declared.type, range_of_field(declared))


def check_value(name: str, value: Setting, annotation: Setting, limits: Range) -> None:
    """Checks a value, and every element of a sequence, against a type and a range.

    Args:
      name: of the field, for the error.
      value: of the field; a JAX array, as in a sweep, is not checked.
      annotation: the type.
      limits: the range.

    Raises:
      ValueError: the type is another, a number is not finite, or it is out of the range.
    """
    if isinstance(value, jax.Array):
        return
    if not accepts(annotation, value):
        raise ValueError(f"{name} must be {type_name(annotation)}, found {described(value)}")
    if isinstance(value, Mapping) or value is None:
        return
    for leaf in _leaves(value):
        if isinstance(leaf, str) and limits.texts and leaf not in limits.texts:
            known = ", ".join(limits.texts)
            near = _near(leaf, limits.texts)
            raise ValueError(f"{name} must be a number or {known}, found {described(leaf)}{near}")
        if isinstance(leaf, str) and not limits.choices:
            continue
        where = name if leaf is value else f"every number of {name}"
        if isinstance(leaf, float | np.floating) and not math.isfinite(leaf):
            raise ValueError(f"{where} must be a finite number, found {described(leaf)}")
        if not isinstance(leaf, str | int | float | np.number) or limits.contains(leaf):
            continue
        raise ValueError(
            f"{where} must be {limits.demand(leaf)}, found {described(value)}"
            f"{_near(leaf, limits.choices)}"
        )


def _near(value: Setting, choices: tuple[Setting, ...]) -> str:
    near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _leaves(value: Setting) -> Iterator[Setting]:
    """The values of nested sequences, or the value itself."""
    if isinstance(value, list | tuple):
        for element in value:
            yield from _leaves(element)
    else:
        yield value
