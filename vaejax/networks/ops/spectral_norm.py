"""The largest singular value of a matrix, for spectral normalisation (1802.05957)."""

import jax
import jax.numpy as jnp

__all__ = ["largest_singular_value"]

_SQUARINGS = 7
_DELTA = 1e-12


def largest_singular_value(matrix: jax.Array) -> jax.Array:
    """σ of `[M, N]`, `[]`; its gradient is u vᵀ, of the singular vectors as constants.

    Miyato et al. (1802.05957, algorithm 1) do one step of the power iteration at each step of the
    training and keep the vector. Here nothing is kept: the smaller Gram matrix is squared seven
    times, which equals 128 iterations from a fixed start.

    Args:
      matrix: the weights; of a convolution, its kernel with the output channels last.
    """
    w = jax.lax.stop_gradient(matrix)
    tall = w.shape[0] >= w.shape[1]
    gram = w.T @ w if tall else w @ w.T

    def square(_: int, g: jax.Array) -> jax.Array:
        g = g / (jnp.linalg.norm(g) + _DELTA)
        return g @ g

    gram = jax.lax.fori_loop(0, _SQUARINGS, square, gram, unroll=True)
    # Its longest column is a multiple of the singular vector, whatever that is.
    vector = gram[:, jnp.argmax(jnp.square(gram).sum(axis=0))]
    vector = vector / (jnp.linalg.norm(vector) + _DELTA)
    other = w @ vector if tall else vector @ w
    other = other / (jnp.linalg.norm(other) + _DELTA)
    left, right = (other, vector) if tall else (vector, other)
    sigma: jax.Array = left @ matrix @ right
    return sigma
