"""Priors p(z) of a continuous latent that are more than N(0, I): conditional, mixtures."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from vaejax.distributions import Normal
from vaejax.game import Params
from vaejax.networks import Network

Encode = Callable[[Params, jax.Array], Any]  # (params, events) -> posterior


class LatentPrior(NamedTuple):
    """A prior with parameters.

    Attributes:
      init: `(key, z, condition) -> {group: params}`; z `[B, ...]` and the condition for shapes.
      apply: `(params, shape, condition, encode) -> p(z)` for z of this shape `(B, ...)`, where
        `encode` gives the posterior of events, for priors that are made of posteriors.
    """

    init: Callable[[jax.Array, jax.Array, jax.Array | None], Params]
    apply: Callable[[Params, tuple[int, ...], jax.Array | None, Encode], Any]


def conditional(network: Network, group: str = "prior") -> LatentPrior:
    """p(z | c), a Gaussian given by a network of the condition (Sohn et al. 2015, section 3).

    Args:
      network: condition `[B, ...]` -> mean and log-variance `[B, ..., 2 · latent_dim]`.
      group: name of its parameter group.
    """

    def init(key: jax.Array, z: jax.Array, condition: jax.Array | None) -> Params:
        del z
        return {group: network.init(key, condition)}

    def apply(
        params: Params, shape: tuple[int, ...], condition: jax.Array | None, encode: Encode
    ) -> Normal:
        del shape, encode
        return Normal.from_features(network.apply(params[group], condition))

    return LatentPrior(init, apply)
