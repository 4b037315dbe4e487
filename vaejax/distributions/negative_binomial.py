"""The negative binomial distribution, for overdispersed counts."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from vaejax.core.distribution import Capabilities

__all__ = ["NegativeBinomial"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NegativeBinomial:
    """Counts of mean μ and variance μ + μ²/r: Poisson with a Gamma-distributed rate.

    Attributes:
      log_mean: log μ.
      log_concentration: log r; the limit of large r is a Poisson distribution.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()

    log_mean: jax.Array
    log_concentration: jax.Array

    @property
    def mean(self) -> jax.Array:
        return jnp.exp(self.log_mean)

    @property
    def variance(self) -> jax.Array:
        return self.mean + jnp.exp(2.0 * self.log_mean - self.log_concentration)

    def sample(self, key: jax.Array) -> jax.Array:
        rate_key, count_key = jax.random.split(key)
        r = jnp.exp(self.log_concentration)
        rate = jax.random.gamma(rate_key, r) * jnp.exp(self.log_mean - self.log_concentration)
        return jax.random.poisson(count_key, rate).astype(self.log_mean.dtype)

    def log_prob(self, x: jax.Array) -> jax.Array:
        r = jnp.exp(self.log_concentration)
        log_odds = self.log_mean - self.log_concentration  # of a success before a failure
        log_coefficient = gammaln(x + r) - gammaln(r) - gammaln(x + 1.0)
        return log_coefficient - r * jax.nn.softplus(log_odds) - x * jax.nn.softplus(-log_odds)
