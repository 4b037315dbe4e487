"""The field of a batch that a model explains: its event."""

from collections.abc import Sequence

import jax

from vaejax.core.game import Batch

__all__ = ["EVENTS", "check_event", "event"]

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


def check_event(x: jax.Array, shape: Sequence[int | None]) -> None:
    """Raises ValueError unless x is `[B, *shape]`, events of the shape that a model was built for.

    Args:
      x: the events.
      shape: of one event; None for an axis of any size.
    """
    fits = x.ndim == 1 + len(shape) and all(
        b is None or a == b for a, b in zip(x.shape[1:], shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(
            f"the model is built for events of shape [B, {expected}], found {list(x.shape)}; "
            "resize the data (data.image_size), or train a model on this shape"
        )
