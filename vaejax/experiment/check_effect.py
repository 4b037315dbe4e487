"""Refuses settings of a config that would have no effect on its data and model."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.dependencies import fields_read
from vaejax.core.events import EVENTS
from vaejax.core.game import Family, Params
from vaejax.core.types import Batch, Setting
from vaejax.data import Source
from vaejax.data.spec import spec_of
from vaejax.data.values import fields_of

__all__ = ["check_condition_dropout", "check_image_settings"]

_PICTURES = ("image", "sequence")
# Field of `data` that is for images -> its value that does nothing.
_OF_IMAGES = {"binarize": "none", "image_size": 0, "channels": 0}
_OF_SOUND = ("sample_rate", "length")
_WITH_SOUND = ("wav", "hf")  # kinds of sources, whose `channels` may be those of sound


def check_image_settings(data: Mapping[str, Setting], source: Source) -> None:
    """Checks that settings for images are not given for other data.

    Args:
      data: the section `data` of a config.
      source: its data.

    Raises:
      ValueError: a setting would have no effect.
    """
    event: str = next(name for name in EVENTS if name in fields_of(source))
    sound = str(data["source"]).partition(":")[0] in _WITH_SOUND and event == "signal"
    for name in () if sound else _OF_SOUND:
        if data.get(name, 0):
            raise ValueError(
                f"data.{name}={data[name]} is for sound files, but {source.name} holds "
                f"{event.removesuffix('s')}s: it would have no effect; leave it at 0"
            )
    if event in _PICTURES:
        return
    for name, neutral in _OF_IMAGES.items():
        if sound and name == "channels":
            continue
        if data.get(name, neutral) != neutral:
            raise ValueError(
                f"data.{name}={data[name]!r} is for images, but {source.name} holds "
                f"{event.removesuffix('s')}s: it would have no effect; leave it at {neutral!r}"
            )


def check_condition_dropout(rate: float, family: Family, params: Params, source: Source) -> None:
    """Checks that the model has a condition that can be dropped.

    Args:
      rate: `data.condition_dropout`.
      family: of the run.
      params: of its model, or their shapes.
      source: of the training data.

    Raises:
      ValueError: the rate is not 0 and would have no effect.
    """
    if not rate:
        return
    batch = spec_of(source).batch(1)

    def condition(batch: Batch) -> Any:
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), params)
        return family.model.forward(zeros, batch, jax.random.key(0), None).condition

    if not {"label", "condition"} & set(fields_read(condition, batch)):
        raise ValueError(
            f"data.condition_dropout={rate} would have no effect: the model reads no label or "
            f"condition of {source.name} (fields: {', '.join(sorted(batch))}); leave it at 0.0"
        )
