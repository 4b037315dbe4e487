"""The von Mises-Fisher distribution, as a posterior on the unit sphere of ℝᴰ, D ≥ 2."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from sphere import log_bessel, unit

from vaejax.distributions import LOG_2PI, Capabilities


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VonMisesFisher:
    """Density ∝ exp(κ μᵀz): unit vectors `direction` μ `[B, D]`, `concentration` κ `[B, 1]`."""

    capabilities = Capabilities(continuous=True, elementwise=False, reparameterized=True)
    direction: jax.Array
    concentration: jax.Array

    @property
    def length(self) -> jax.Array:
        """Of the mean: A(κ) = I_{D/2}(κ) / I_{D/2−1}(κ), `[B, 1]`."""
        low, high = log_bessel(self.direction.shape[-1] / 2 - 1, self.concentration)
        return jnp.exp(high - low)

    @property
    def mean(self) -> jax.Array:
        return self.length * self.direction

    @property
    def variance(self) -> jax.Array:
        d, a = self.direction.shape[-1], self.length
        ratio = a / self.concentration
        return ratio + (1 - d * ratio - a * a) * jnp.square(self.direction)

    def project(self, z: jax.Array) -> jax.Array:
        return unit(z)

    def log_prob(self, z: jax.Array) -> jax.Array:
        d, k = self.direction.shape[-1], self.concentration[..., 0]
        log_scale = (d / 2 - 1) * jnp.log(k) - d / 2 * LOG_2PI - log_bessel(d / 2 - 1, k)[0]
        return log_scale - 0.5 * k * jnp.sum(jnp.square(z - self.direction), axis=-1)

    def sample(self, key: jax.Array) -> jax.Array:
        """Wood's rejection sampler (1994): the first accepted of 16 proposals; P(none) < 1e-7.

        The gradient of w = μᵀz by κ is −∂F(w)/∂κ / f(w) (1805.08498), a quadrature over [w, 1].
        """
        d, k = self.direction.shape[-1], jax.lax.stop_gradient(self.concentration)
        key, accept_key, tangent_key = jax.random.split(key, 3)
        root = jnp.sqrt(4 * k * k + (d - 1) ** 2)
        a, b = (d - 1 + 2 * k + root) / 4, (d - 1) / (2 * k + root)
        uniform = unit(jax.random.normal(key, (*k.shape[:-1], 16, d)))
        e = (1 + uniform[..., 0]) / 2  # of the distribution Beta((D − 1) / 2, (D − 1) / 2)
        t = 2 * a * b / (1 - (1 - b) * e)
        log_accept = (d - 1) * jnp.log(t / (d - 1)) - t + 4 * a * b / (1 + b)
        accepted = log_accept >= jnp.log(jax.random.uniform(accept_key, e.shape))
        e = jnp.take_along_axis(e, jnp.argmax(accepted, axis=-1, keepdims=True), axis=-1)
        gap = jnp.clip(2 * b * e / (1 - (1 - b) * e), 1e-12, 2 - 1e-6)  # 1 − w
        nodes, weights = np.polynomial.legendre.leggauss(32)
        x2 = np.square(1 + nodes) / 4  # integrates over 1 − gap · x², without singular ends
        weights, power = (
            jnp.asarray(a, gap.dtype)[None] for a in (weights, (d / 2 - 1) * np.log(x2))
        )
        inner = 1 - gap * jnp.asarray(x2, gap.dtype)[None]  # 1 − gap · x²
        power += (d - 3) / 2 * jnp.log((1 + inner) / (2 - gap)) + k * (inner - 1 + gap)
        f = weights * jnp.exp(power) * (inner - jax.lax.stop_gradient(self.length))
        slope = jax.lax.stop_gradient(gap * f.sum(axis=-1, keepdims=True))
        gap -= slope * (self.concentration - k)  # which is 0, with this gradient
        tangent = jax.random.normal(tangent_key, self.direction.shape)
        for _ in range(2):  # once does not make it orthogonal to rounding
            along = jnp.sum(tangent * self.direction, axis=-1, keepdims=True)
            tangent = unit(tangent - along * self.direction)
        return (1 - gap) * self.direction + jnp.sqrt(gap * (2 - gap)) * tangent
