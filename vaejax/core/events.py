"""The field of a batch that a model explains: its event, and the mask of what is present of it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.game import Batch

__all__ = ["EVENTS", "broadcast_mask", "check_event", "event", "event_mask", "event_name"]

EVENTS = ("image", "vector", "sequence", "signal", "tokens")  # a batch has exactly one of these

# Axes of the mask, with that of the batch; that of tokens has all axes of the event.
_MASK_AXES = {"image": 3, "vector": 2, "sequence": 2, "signal": 2}


def event_name(batch: Batch) -> str:
    """The field of a batch that is named in `EVENTS`.

    Raises:
      ValueError: it has none of them.
    """
    for name in EVENTS:
        if name in batch:
            return name
    raise ValueError(f"a batch needs one of {', '.join(EVENTS)}, found {sorted(batch)}")


def event(batch: Batch) -> jax.Array:
    """The event x of p(x | z) in a batch, with zeros where its `mask` is False.

    Raises:
      ValueError: it has no event, or a mask that does not fit it.
    """
    x, mask = batch[event_name(batch)], event_mask(batch)
    if mask is None:
        return x
    return jnp.where(broadcast_mask(mask, x.ndim), x, jnp.zeros((), x.dtype))


def event_mask(batch: Batch) -> jax.Array | None:
    """Which parts of the event are present: the field `mask`, bool; None without this field.

    Its axes are the leading ones of the event: `[B, T]` of sequences and signals, those of tokens
    and vectors, `[B, H, W]` of images.

    Raises:
      ValueError: another type or shape.
    """
    if "mask" not in batch:
        return None
    name, mask = event_name(batch), batch["mask"]
    x = batch[name]
    expected = x.shape[: _MASK_AXES.get(name, x.ndim)]
    if mask.dtype != jnp.bool_ or mask.shape != expected:
        raise ValueError(
            f"the mask of a batch of {name} {list(x.shape)} must be bool {list(expected)}, true "
            f"where a value is present, found {mask.dtype} {list(mask.shape)}; pixels to predict "
            "from a condition are the field 'hidden'"
        )
    return mask


def broadcast_mask(mask: jax.Array, ndim: int) -> jax.Array:
    """The mask with axes of size one appended, up to `ndim` axes."""
    return mask.reshape(*mask.shape, *(1,) * (ndim - mask.ndim))


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
