"""A hyperbolic secant likelihood: quadratic in small errors, linear in large ones."""

import dataclasses
import math

import jax
import jax.numpy as jnp

import vaejax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HyperbolicSecant:
    """Independent, elementwise: p(x) = sech((x − loc) / scale) / (π scale)."""

    capabilities = vaejax.Capabilities(continuous=True, euclidean=True, reparameterized=True)
    loc: jax.Array
    scale: jax.Array

    @property
    def mean(self) -> jax.Array:
        return self.loc

    @property
    def variance(self) -> jax.Array:
        return jnp.square(0.5 * math.pi * self.scale)

    def sample(self, key: jax.Array) -> jax.Array:
        u = jax.random.uniform(key, self.loc.shape, self.loc.dtype, 1e-6, 1 - 1e-6)
        return self.loc + self.scale * jnp.log(jnp.tan(0.5 * math.pi * u))

    def log_prob(self, x: jax.Array) -> jax.Array:
        size = jnp.abs(x - self.loc) / self.scale
        log_cosh = size + jnp.log1p(jnp.exp(-2 * size)) - math.log(2)
        return -log_cosh - jnp.log(math.pi * self.scale)


@vaejax.register("likelihood", "hyperbolic_secant")
def hyperbolic_secant(scale: float = 0.1) -> vaejax.Likelihood:
    """Real data with a fixed `scale` in its units; locations are the decoder's features."""
    return vaejax.Likelihood(
        width=lambda channels: channels,
        apply=lambda features: HyperbolicSecant(features, jnp.full_like(features, scale)),
    )
