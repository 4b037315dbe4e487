"""Unit vectors, and the Bessel functions of densities of them."""

import jax
import jax.numpy as jnp

from vaejax.distributions import LOG_2PI


def unit(x: jax.Array) -> jax.Array:
    """x divided by its length on the last axis."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))


def log_bessel(order: float, k: jax.Array) -> tuple[jax.Array, jax.Array]:
    """log(e⁻ᵏ I_v(k)) for v = order and order + 1, by the recurrence of I_v from v = order + 17.

    Downwards all of its terms are positive; it starts at Debye's expansion for large orders.
    """

    def debye(v: float) -> jax.Array:
        root = jnp.sqrt(v * v + k * k)
        t = v / root
        u1, u2 = (3 * t - 5 * t**3) / 24, (81 * t**2 - 462 * t**4 + 385 * t**6) / 1152
        scale = v * v / (root + k) + v * jnp.log(k / (v + root)) - 0.5 * (jnp.log(root) + LOG_2PI)
        return scale + jnp.log1p(u1 / v + u2 / v**2)

    low, high = debye(order + 16), debye(order + 17)
    for i in range(16, 0, -1):
        low, high = jnp.logaddexp(high, jnp.log(2 * (order + i) / k) + low), low
    return low, high
