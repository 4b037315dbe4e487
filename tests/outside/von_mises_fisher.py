"""The von Mises-Fisher distribution on each of several unit spheres in ℝ³, and a uniform one."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from vaejax.distributions import Capabilities, register_kl


def unit(z: jax.Array) -> jax.Array:
    """Every three values of z `[B, 3 S]` divided by their length."""
    points = z.reshape(*z.shape[:-1], -1, 3)
    return (points / jnp.linalg.norm(points, axis=-1, keepdims=True)).reshape(z.shape)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UniformOnSpheres:
    """The uniform distribution; its `mean` is 0 `[B, 3 S]`."""

    capabilities = Capabilities(continuous=True, elementwise=False)
    mean: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        return unit(jax.random.normal(key, self.mean.shape))

    def log_prob(self, z: jax.Array) -> jax.Array:
        return jnp.full(z.shape[:-1], -z.shape[-1] / 3 * math.log(4 * math.pi))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VonMisesFisher:
    """Density ∝ exp(κ μᵀz) on each sphere: `direction` μ, `concentration` κ, both `[B, 3 S]`."""

    capabilities = Capabilities(continuous=True, elementwise=False, reparameterized=True)
    direction: jax.Array
    concentration: jax.Array  # each of the S values three times
    length = property(lambda self: 1 / jnp.tanh(self.concentration) - 1 / self.concentration)
    mean = property(lambda self: self.length * self.direction)

    @property
    def variance(self) -> jax.Array:
        ratio, squares = self.length / self.concentration, jnp.square(self.direction)
        return ratio + (1 - 3 * ratio - jnp.square(self.length)) * squares

    def project(self, z: jax.Array) -> jax.Array:
        return unit(z)

    def log_prob(self, z: jax.Array) -> jax.Array:
        k = self.concentration
        log_scale = jnp.log(k) - math.log(2 * math.pi) - jnp.log(-jnp.expm1(-2 * k))
        return ((log_scale - k) / 3 + k * self.direction * z).sum(axis=-1)

    def sample(self, key: jax.Array) -> jax.Array:
        """μᵀz by the inverse of its distribution function, and a uniform direction around μ."""
        k, (key, tangent_key) = self.concentration[..., ::3], jax.random.split(key)
        u = jax.random.uniform(key, k.shape, minval=1e-6)
        gap = -jnp.repeat(jnp.log(u + (1 - u) * jnp.exp(-2 * k)) / k, 3, axis=-1)  # 1 − μᵀz
        tangent = jnp.cross(*(a.reshape(*k.shape, 3) for a in (
            self.direction, jax.random.normal(tangent_key, self.direction.shape))))  # fmt: skip
        along, across = (1 - gap) * self.direction, jnp.sqrt(gap * (2 - gap))
        return along + across * unit(tangent.reshape(self.direction.shape))


@register_kl(VonMisesFisher, UniformOnSpheres)
def kl(q: VonMisesFisher, p: UniformOnSpheres) -> jax.Array:
    """Nats `[B]`: both log-densities are linear in z, so their means are those at the mean."""
    return q.log_prob(q.mean) - p.log_prob(q.mean)
