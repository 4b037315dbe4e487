"""Sequences made on the spot, whose motion is known: `NAME` or `NAME:SETTING=VALUE,…`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from vaejax.core.registry import call
from vaejax.data.load_options import Request
from vaejax.data.source import DEFAULT_RESIDENT_BYTES, Source, check_split
from vaejax.data.synthetic.bouncing_balls import bouncing_balls
from vaejax.data.synthetic.moving_images import moving_mnist, moving_sprites
from vaejax.data.synthetic.oscillator import oscillator

SEQUENCES: Mapping[str, Callable[..., Source]] = {
    "bouncing_balls": bouncing_balls,
    "moving_mnist": moving_mnist,
    "moving_sprites": moving_sprites,
    "oscillator": oscillator,
}


def load_sequences(
    kind: str,
    settings: str = "",
    split: str = "train",
    *,
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    data_dir: str | None = None,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
) -> Source:
    """One of `SEQUENCES`; train and evaluation share no sequence.

    Args:
      kind: a name in `SEQUENCES`.
      settings: arguments of that function, `length=40,speeds=2`; `''` for its defaults.
      split: `'train'` or `'eval'`.
      image_size: height and width of frames.
      channels: of frames.
      holdout: where an underlying dataset has no splits of its own.
      data_dir: where TFDS datasets are prepared.
      max_resident_bytes: data larger than this gets `arrays=None`.

    Raises:
      ValueError: a setting is unknown, malformed or out of range.
      FileNotFoundError: an underlying dataset is not there.
    """
    check_split(split)
    name = f"{kind}:{settings}" if settings else kind
    request = Request(name, split, image_size, channels, holdout, data_dir, max_resident_bytes)
    what = f"data source {kind!r}"
    return call(SEQUENCES[kind], what, request, **_parsed(SEQUENCES[kind], what, settings))


def _parsed(function: Callable[..., Source], what: str, settings: str) -> dict[str, Any]:
    """Settings by name, each of the type of its default; unknown ones are left to `call`."""
    parameters = inspect.signature(function).parameters
    known = [name for name, p in parameters.items() if p.default is not p.empty]
    found: dict[str, Any] = {}
    for part in filter(None, settings.split(",")):
        name, equals, value = part.partition("=")
        if not equals or name in found:
            problem = "is given twice" if equals else "is no NAME=VALUE"
            raise ValueError(f"{what}: {part!r} {problem}; settings are {', '.join(known)}")
        kind = type(parameters[name].default) if name in known else str
        try:
            found[name] = kind(value)
        except ValueError as error:
            raise ValueError(f"{what}: {name} must be {kind.__name__}, found {value!r}") from error
    return found
