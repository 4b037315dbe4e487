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

    The features are the mean and the log-variance (Kingma & Welling 1312.6114, appendix C.2).
    """

    def apply(params: Params, features: jax.Array, key: jax.Array) -> Latent:
        del params
        loc, log_variance = jnp.split(features, 2, axis=-1)
        posterior = Normal(loc, jnp.exp(0.5 * log_variance))
        prior = Normal(jnp.zeros_like(loc), jnp.ones_like(loc))
        return Latent(posterior, prior, posterior.sample(key))

    def draw(
        params: Params, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        del params
        return temperature * jax.random.normal(key, (*shape[:-1], latent_dim))

    return Bottleneck(2 * latent_dim, lambda key, features: {}, apply, draw)
