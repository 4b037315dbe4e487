"""What a batch asks to be explained."""

import jax

from vaejax.core.game import Batch

EVENTS = ("image", "vector", "sequence", "signal", "tokens")  # a batch has one of these


def event(batch: Batch) -> jax.Array:
    """What a batch asks to be explained: the one of `EVENTS` that it has.

    Raises:
      ValueError: it has none of them.
    """
    for name in EVENTS:
        if name in batch:
            return batch[name]
    raise ValueError(f"a batch needs one of {', '.join(EVENTS)}, found {sorted(batch)}")
