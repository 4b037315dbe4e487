"""Laplace distributions, whose negative log-likelihood is an absolute error; also discretised."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vaejax.core.distribution import STATIC, Capabilities
from vaejax.distributions.support import REAL, Support, grid

__all__ = ["DiscretizedLaplace", "Laplace"]

_LN2 = 0.6931471805599453


def _sample(key: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    return loc + scale * jax.random.laplace(key, loc.shape, loc.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Laplace:
    """Independent Laplace variables: −log p(x) = |x − loc| / scale + log 2 scale, elementwise.

    Attributes:
      loc: the mean and median.
      scale: the mean absolute deviation b, of the same shape; the variance is 2 b².
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        continuous=True, euclidean=True, reparameterized=True
    )
    support: ClassVar[Support] = REAL

    loc: jax.Array
    scale: jax.Array

    @property
    def mean(self) -> jax.Array:
        return self.loc

    @property
    def variance(self) -> jax.Array:
        return 2.0 * jnp.square(self.scale)

    def sample(self, key: jax.Array) -> jax.Array:
        """A reparameterised sample."""
        return _sample(key, self.loc, self.scale)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return -jnp.abs(x - self.loc) / self.scale - jnp.log(self.scale) - _LN2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiscretizedLaplace:
    """A Laplace density integrated over the bins of `levels` grey values in [0, 1].

    The outermost bins include the tails, so the probabilities of the values sum to one. `mean` is
    that of the density clipped to [0, 1].
    """

    capabilities: ClassVar[Capabilities] = Capabilities(bits_per_dim=True)

    loc: jax.Array
    scale: jax.Array
    levels: int = dataclasses.field(default=256, metadata=STATIC)

    @property
    def support(self) -> Support:
        return grid(self.levels)

    @property
    def mean(self) -> jax.Array:
        # E[min(max(X, 0), 1)] = loc + E[(0 − X)₊] − E[(X − 1)₊], where E[(X − c)₊] is
        # (c − loc)₋ + ½ b exp(−|c − loc| / b).
        def excess(distance: jax.Array) -> jax.Array:
            tail = 0.5 * self.scale * jnp.exp(-jnp.abs(distance) / self.scale)
            return jnp.maximum(-distance, 0.0) + tail

        return jnp.clip(self.loc + excess(self.loc) - excess(1.0 - self.loc), 0.0, 1.0)

    def sample(self, key: jax.Array) -> jax.Array:
        x = jnp.clip(_sample(key, self.loc, self.scale), 0.0, 1.0)
        return jnp.round(x * (self.levels - 1)) / (self.levels - 1)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log P(bin of x) of x on the grid, nats."""
        width = 1.0 / (self.levels - 1)
        distance = jnp.abs(x - self.loc)
        near, half = distance - width / 2, width / 2
        # The bin lies on one side of loc: ½ exp(−near / b) (1 − exp(−width / b)).
        one_side = -_LN2 - near / self.scale + jnp.log(-jnp.expm1(-width / self.scale))
        # Or it contains loc: 1 − ½ exp(−(half − d) / b) − ½ exp(−(half + d) / b).
        d = jnp.minimum(distance, half)
        left, right = (half - d) / self.scale, (half + d) / self.scale
        both = jnp.log(-0.5 * (jnp.expm1(-left) + jnp.expm1(-right)))
        inner = jnp.where(near > 0, one_side, both)
        outer = self._log_upper_tail(jnp.where(x > 0.5, x - half - self.loc, self.loc - x - half))
        return jnp.where((x < half) | (x > 1.0 - half), outer, inner)

    def _log_upper_tail(self, distance: jax.Array) -> jax.Array:
        """log P(X − loc > distance)."""
        above = -_LN2 - jnp.maximum(distance, 0.0) / self.scale
        below = jnp.log1p(-0.5 * jnp.exp(jnp.minimum(distance, 0.0) / self.scale))
        return jnp.where(distance > 0, above, below)
