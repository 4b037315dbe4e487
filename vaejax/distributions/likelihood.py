"""What a likelihood is: channels of decoder features, and p(x | z) from them."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from vaejax.core.distribution import Distribution

__all__ = ["Likelihood"]


class Likelihood(NamedTuple):
    """A likelihood of events whose last axis has C channels.

    Attributes:
      width: C -> number of channels of the decoder's output.
      apply: features `[..., width(C) + constants]` -> a distribution over `[..., C]`.
      constants: number of learned scalars appended to the decoder's channels, the same at every
        position of every event.
      encoder_input: events -> what an encoder reads in their place, where events can be far from
        unit scale; None for the events themselves.
      encoder_mask: mask of an event -> that of what an encoder reads in its place, where these have
        other shapes; zeros are read where it is false. None for the mask itself.
    """

    width: Callable[[int], int]
    apply: Callable[[jax.Array], Distribution]
    constants: int = 0
    encoder_input: Callable[[jax.Array], jax.Array] | None = None
    encoder_mask: Callable[[jax.Array], jax.Array] | None = None
