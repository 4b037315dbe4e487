"""The field of a batch that a model explains: its event."""

import jax

from vaejax.core.game import Batch

__all__ = ["EVENTS", "event"]

EVENTS = ("image", "vector", "sequence", "signal", "tokens")  # a batch has exactly one of these


def event(batch: Batch) -> jax.Array:
    """The event x of p(x | z) in a batch: its field named in `EVENTS`.

    Raises:
      ValueError: it has none of them.
    """
    for name in EVENTS:
        if name in batch:
            return batch[name]
    raise ValueError(f"a batch needs one of {', '.join(EVENTS)}, found {sorted(batch)}")
