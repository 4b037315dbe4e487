"""The lasso, compiled: least squares with an L1 penalty."""

from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.types import PyTree

__all__ = ["lasso", "standardised"]


def lasso(
    x: jax.Array, y: jax.Array, penalty: float, *, tolerance: float = 1e-6, sweeps: int = 1000
) -> jax.Array:
    """The w `[D, T]` that minimises ‖y − x w‖² / 2N + penalty · ‖w‖₁ for each column of y.

    Coordinate descent on XᵀX until convergence. A column of zeros gets weight zero.

    Args:
      x: `[N, D]`, centred.
      y: `[N, T]`, centred.
      penalty: of the weights.
      tolerance: largest change of a weight in a sweep at which to stop.
      sweeps: maximal number of sweeps over the coordinates.
    """
    n, d = x.shape
    gram, moment = x.T @ x / n, x.T @ y / n  # [D, D], [D, T]
    variance = jnp.diagonal(gram)
    nonzero = variance > 1e-12

    def coordinate(j: Any, w: jax.Array) -> jax.Array:
        residual = moment[j] - gram[j] @ w + variance[j] * w[j]
        shrunk = jnp.sign(residual) * jnp.maximum(jnp.abs(residual) - penalty, 0.0)
        updated = shrunk / jnp.where(nonzero[j], variance[j], 1.0)
        return w.at[j].set(jnp.where(nonzero[j], updated, 0.0))

    def sweep(carry: PyTree) -> PyTree:
        w, _, number = carry
        new = jax.lax.fori_loop(0, d, coordinate, w)
        return new, jnp.abs(new - w).max(), number + 1

    start = jnp.zeros((d, y.shape[1]), x.dtype), jnp.asarray(jnp.inf, x.dtype), jnp.int32(0)
    return jax.lax.while_loop(
        lambda carry: (carry[1] > tolerance) & (carry[2] < sweeps), sweep, start
    )[0]


def standardised(x: jax.Array, rows: int | None = None) -> jax.Array:
    """Columns of mean 0 and variance 1 over the first `rows`, a column that hardly varies zero.

    A column hardly varies there if its deviation is below 1e-6 of its largest value, which is the
    rounding of float32, or 1e-3 of its deviation over all rows: it would be divided by a number
    that says nothing of the other rows.
    """
    z = x - x[:rows].mean(axis=0)[None]
    z = z - z[:rows].mean(axis=0)[None]  # the first mean was rounded to the size of x

    def deviation(part: jax.Array) -> jax.Array:
        return jnp.sqrt(jnp.square(part - part.mean(axis=0)[None]).mean(axis=0))

    fitted, total = deviation(z[:rows]), deviation(z)
    varies = fitted > jnp.maximum(1e-6 * jnp.abs(x).max(axis=0), 1e-3 * total)
    return jnp.where(varies[None], z / jnp.where(varies, fitted, 1.0)[None], 0.0)
