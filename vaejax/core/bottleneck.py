"""What a bottleneck is: features of an encoder in, one stochastic node out."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from vaejax.core.game import Latent, Params


class Bottleneck(NamedTuple):
    """What stands between encoder and decoder.

    Attributes:
      width: features that it wants of the encoder, on the last axis.
      init: `(key, features) -> {group: params}`, its own groups; may look at the features.
      apply: `(params, features, key) -> Latent`; without a key, None, nothing is drawn and z is
        the mean, or the likeliest code.
      draw: `(params, key, shape, temperature) -> z` from the prior, for features of this shape.
      at: step -> the bottleneck at this step of training, where it anneals something; `apply` is
        that of the end. None where it does not.
      embed: `(params, indices) -> z`, where z stands for codes; else None.
    """

    width: int
    init: Callable[..., Params]
    apply: Callable[..., Latent]
    draw: Callable[..., jax.Array]
    at: "Callable[[jax.Array], Bottleneck] | None" = None
    embed: Callable[..., jax.Array] | None = None
