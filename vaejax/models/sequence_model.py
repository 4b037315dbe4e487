"""What can be asked of a model of sequences, whatever it is made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from vaejax.distributions import Normal


class Draws(NamedTuple):
    """A density of each layer of z, the top first, and what was drawn from it.

    A layer's density is that given the draws of the layers above.
    """

    densities: tuple[Normal, ...]
    zs: tuple[jax.Array, ...]  # [B, D] each


class SequenceModel(NamedTuple):
    """Pure functions; frames of z are decoded by the model's own `decode`.

    Where a function takes a key, None takes means in place of draws.

    Attributes:
      beliefs: `(params, x [B, T, ...]) -> b [B, T, D]`, all that is known at each time.
      start: `(params, n) -> state` of a stream before its first frame.
      observe: `(params, state, frame [B, ...]) -> (b [B, D], state)`: filtering, one step.
      believe: `(params, b [B, D], key, temperature=1) -> Draws`: z_t given all up to t.
      jump: `(params, zs, δ int32 [B], key, temperature=1) -> Draws`: z_(t+δ) given z_t.
      rollout: `(params, zs, δ int32 [S], key, temperature=1) -> zs [S, B, D]`: one jump after the
        other; ones go step by step.
      smooth: `(params, zs of t2, b_t1, b_t2, δ int32 [B], key) -> Draws`: z_t1, looking back from
        t2; None where the model has no such density.
      longest: the largest δ it has been trained on.
    """

    beliefs: Callable[..., jax.Array]
    start: Callable[..., Any]
    observe: Callable[..., tuple[jax.Array, Any]]
    believe: Callable[..., Draws]
    jump: Callable[..., Draws]
    rollout: Callable[..., tuple[jax.Array, ...]]
    smooth: Callable[..., Draws] | None
    longest: int
