"""Euclidean distances by matrix products, of vectors that may lie far from the origin.

‖x‖² + ‖y‖² − 2xᵀy is a small difference of large numbers if x and y are far from the origin
compared with their distance: it loses as many digits as the square of that ratio has. Both are
therefore shifted, which leaves the distance unchanged.
"""

import jax
import jax.numpy as jnp

__all__ = ["power_of_two_centre", "squared_distances"]


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """‖xᵢ − yⱼ‖² `[N, M]` of `[N, D]` and `[M, D]`, by one matrix product, never negative.

    Exact to the precision of the dtype times the squared spread of both sets about their common
    mean, not to that of each distance: vectors in tight, far-apart groups need a float64.
    """
    centre = jax.lax.stop_gradient(0.5 * (x.mean(axis=0) + y.mean(axis=0)))
    x, y = x - centre[None], y - centre[None]
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    norms = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :]
    return jnp.maximum(norms - 2.0 * product, 0.0)


def power_of_two_centre(x: jax.Array) -> jax.Array:
    """A centre `[D]` of vectors `[N, D]`, to be subtracted from them.

    Their mean, rounded to multiples of a power of two, two to four times the largest distance of an
    element from it. So it is zero for vectors about the origin, and the difference of vectors far
    from the origin to it is exact, which keeps ties between distances.
    """
    mean = x.mean(axis=0)
    spread = jnp.abs(x - mean[None]).max()
    _, exponent = jnp.frexp(spread)  # spread = mantissa · 2^exponent, the mantissa in [½, 1)
    unit = jnp.ldexp(jnp.ones((), x.dtype), exponent + 1)
    return unit * jnp.round(mean / unit)
