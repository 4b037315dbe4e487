"""The lasso, compiled: least squares with an L1 penalty."""

from typing import Any

import jax
import jax.numpy as jnp


def lasso(
    x: jax.Array, y: jax.Array, penalty: float, *, tolerance: float = 1e-6, sweeps: int = 1000
) -> jax.Array:
    """The w `[D, T]` that minimises ‖y − x w‖² / 2N + penalty · ‖w‖₁ for each column of y.

    Coordinate descent on XᵀX, as many sweeps as it takes. A column of zeros gets weight zero.

    Args:
      x: `[N, D]`, centred.
      y: `[N, T]`, centred.
      penalty: of the weights.
      tolerance: largest change of a weight in a sweep at which to stop.
      sweeps: at most.
    """
    n, d = x.shape
    gram, moment = x.T @ x / n, x.T @ y / n  # [D, D], [D, T]
    size = jnp.diagonal(gram)
    alive = size > 1e-12

    def coordinate(j: Any, w: jax.Array) -> jax.Array:
        rest = moment[j] - gram[j] @ w + size[j] * w[j]
        shrunk = jnp.sign(rest) * jnp.maximum(jnp.abs(rest) - penalty, 0.0)
        return w.at[j].set(jnp.where(alive[j], shrunk / jnp.where(alive[j], size[j], 1.0), 0.0))

    def sweep(carry: Any) -> Any:
        w, _, number = carry
        new = jax.lax.fori_loop(0, d, coordinate, w)
        return new, jnp.abs(new - w).max(), number + 1

    start = jnp.zeros((d, y.shape[1]), x.dtype), jnp.asarray(jnp.inf, x.dtype), jnp.int32(0)
    return jax.lax.while_loop(
        lambda carry: (carry[1] > tolerance) & (carry[2] < sweeps), sweep, start
    )[0]


def standardised(x: jax.Array, rows: int | None = None) -> jax.Array:
    """Columns of mean 0 and variance 1 over the first `rows`; those constant there become zeros."""
    part = x[:rows]
    mean = part.mean(axis=0)
    deviation = jnp.sqrt(jnp.square(part - mean[None]).mean(axis=0))
    alive = part.max(axis=0) > part.min(axis=0)
    return jnp.where(alive[None], (x - mean[None]) / jnp.where(alive, deviation, 1.0)[None], 0.0)
