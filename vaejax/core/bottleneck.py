"""The interface of a bottleneck: encoder features in, one stochastic node out."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from vaejax.core.game import Latent, Params

__all__ = ["Bottleneck"]


class Bottleneck(NamedTuple):
    """The stochastic node between encoder and decoder, as pure functions.

    Attributes:
      width: number of encoder features that it needs, on the last axis.
      init: `(key, features) -> {group: params}`, its own parameter groups, which may depend on the
        features (data-dependent initialisation).
      apply: `(params, features, key) -> Latent`. With the key None nothing is sampled: z is the
        mean of the posterior, projected to its support where it lies outside, or the most likely
        code.
      sample_prior: `(params, key, shape, temperature) -> z`, a sample from the prior for features
        of this shape.
      training_variant: step -> the bottleneck at this step of training, where it anneals or drops
        something; `apply` is the variant outside of training. None where both are the same.
      embed: `(params, indices) -> z` where z is given by codes; else None.
    """

    width: int
    init: Callable[..., Params]
    apply: Callable[..., Latent]
    sample_prior: Callable[..., jax.Array]
    training_variant: "Callable[[jax.Array], Bottleneck] | None" = None
    embed: Callable[..., jax.Array] | None = None
