"""Generated sequences with known motion: `NAME` or `NAME:SETTING=VALUE,…`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from vaejax.core.registry import call
from vaejax.data.load_options import LoadOptions
from vaejax.data.source import Source
from vaejax.data.synthetic.bouncing_balls import bouncing_balls
from vaejax.data.synthetic.moving_images import moving_mnist, moving_sprites
from vaejax.data.synthetic.oscillator import oscillator

__all__ = ["SEQUENCES", "load_sequence"]

SEQUENCES: Mapping[str, Callable[..., Source]] = {
    "bouncing_balls": bouncing_balls,
    "moving_mnist": moving_mnist,
    "moving_sprites": moving_sprites,
    "oscillator": oscillator,
}


def load_sequence(kind: str, settings: str, options: LoadOptions) -> Source:
    """One of `SEQUENCES`; no sequence is in both splits.

    Args:
      kind: a name in `SEQUENCES`.
      settings: keyword arguments of that function, `length=40,speeds=2`; `''` for the defaults.
      options: see `LoadOptions`.

    Raises:
      ValueError: a setting is unknown, malformed or out of range.
      FileNotFoundError: an underlying dataset does not exist.
    """
    function, what = SEQUENCES[kind], f"data source {kind!r}"
    return call(function, what, options, **_parse(function, what, settings))


def _parse(function: Callable[..., Source], what: str, settings: str) -> dict[str, Any]:
    """Settings by name, each of the type of its default; `call` reports unknown ones."""
    parameters = inspect.signature(function).parameters
    names = [name for name, p in parameters.items() if p.default is not p.empty]
    parsed: dict[str, Any] = {}
    for part in filter(None, settings.split(",")):
        name, equals, value = part.partition("=")
        if not equals or name in parsed:
            problem = "is set twice" if equals else "is not of the form NAME=VALUE"
            raise ValueError(f"{what}: {part!r} {problem}; settings are {', '.join(names)}")
        kind = type(parameters[name].default) if name in names else str
        try:
            parsed[name] = kind(value)
        except ValueError as error:
            raise ValueError(f"{what}: {name} must be {kind.__name__}, found {value!r}") from error
    return parsed
