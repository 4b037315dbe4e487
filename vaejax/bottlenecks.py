"""Encoder features -> a stochastic node. Quantizers, which give codes, are in `quantizers`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.distributions import Normal
from vaejax.game import Latent, Params


class Bottleneck(NamedTuple):
    """What stands between encoder and decoder.

    Attributes:
      width: features that it wants of the encoder, on the last axis.
      init: `(key, features) -> {group: params}`, its own groups; may look at the features.
      apply: `(params, features, key) -> Latent`.
      draw: `(params, key, shape, temperature) -> z` from the prior, for features of this shape.
    """

    width: int
    init: Callable[..., Params]
    apply: Callable[..., Latent]
    draw: Callable[..., jax.Array]


def gaussian(latent_dim: int) -> Bottleneck:
    """A diagonal Gaussian against N(0, I); features `[B, ..., 2 · latent_dim]`.

    The features are its mean and its log-variance.
    """

    def apply(params: Params, features: jax.Array, key: jax.Array) -> Latent:
        del params
        posterior = Normal.from_features(features)
        prior = Normal(jnp.zeros_like(posterior.loc), jnp.ones_like(posterior.loc))
        return Latent(posterior, prior, posterior.sample(key))

    def draw(
        params: Params, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        del params
        return temperature * jax.random.normal(key, (*shape[:-1], latent_dim))

    return Bottleneck(2 * latent_dim, lambda key, features: {}, apply, draw)
