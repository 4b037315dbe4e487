"""A Laplace likelihood, whose nll is the absolute error."""

import dataclasses

import jax
import jax.numpy as jnp

import vaejax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Laplace:
    """Independent, elementwise; `loc` is mean and median, `scale` the mean absolute deviation."""

    capabilities = vaejax.Capabilities(continuous=True, euclidean=True, reparameterized=True)
    loc: jax.Array
    scale: jax.Array

    @property
    def mean(self) -> jax.Array:
        return self.loc

    @property
    def variance(self) -> jax.Array:
        return 2 * jnp.square(self.scale)

    def sample(self, key: jax.Array) -> jax.Array:
        return self.loc + self.scale * jax.random.laplace(key, self.loc.shape, self.loc.dtype)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return -jnp.abs(x - self.loc) / self.scale - jnp.log(2 * self.scale)


@vaejax.register("likelihood", "laplace")
def laplace(scale: float = 0.1) -> vaejax.Likelihood:
    """Real data with a fixed `scale` in its units; locations are the decoder's features."""
    return vaejax.Likelihood(
        width=lambda channels: channels,
        apply=lambda features: Laplace(features, jnp.full_like(features, scale)),
    )
