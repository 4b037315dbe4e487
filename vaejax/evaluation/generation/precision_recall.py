"""Precision and recall of a generator: are its examples like the data, and all of the data?"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike


def _distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared distances `[n, N]` of x `[n, D]` and y `[N, D]`."""
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.square(x).sum(axis=1)[:, None] + jnp.square(y).sum(axis=1)[None]
    return jnp.maximum(squares - 2.0 * product, 0.0)


def _blocks(x: jax.Array, block: int) -> tuple[jax.Array, jax.Array]:
    """`[N, D]` in blocks `[⌈N / block⌉, block, D]`, the last filled up, and the number of each row.

    Rows that fill up have the numbers from N on.
    """
    padded = jnp.pad(x, ((0, -len(x) % block), (0, 0)))
    return padded.reshape(-1, block, x.shape[1]), jnp.arange(len(padded)).reshape(-1, block)


@functools.partial(jax.jit, static_argnames=("k", "block"))
def squared_radii(x: jax.Array, k: int, block: int = 512) -> jax.Array:
    """Squared distance of each of `[N, D]` from its k-th neighbour, itself not counted, `[N]`."""

    def radius(part: tuple[jax.Array, jax.Array]) -> jax.Array:
        rows, numbers = part
        own = numbers[:, None] == jnp.arange(len(x))[None]
        near = jax.lax.top_k(-jnp.where(own, jnp.inf, _distances(rows, x)), k)[0]
        return -near[:, -1]

    return jax.lax.map(radius, _blocks(x, block)).reshape(-1)[: len(x)]


@functools.partial(jax.jit, static_argnames=("block",))
def _balls(
    centres: jax.Array, radii: jax.Array, x: jax.Array, block: int = 512
) -> tuple[jax.Array, jax.Array]:
    """In how many balls each of x lies, `[n]`, and whether each ball holds any, `[N]`."""

    def look(held: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        rows, numbers = part
        inside = (_distances(rows, centres) <= radii[None]) & (numbers < len(x))[:, None]
        return held | inside.any(axis=0), inside.sum(axis=1)

    held, counts = jax.lax.scan(look, jnp.zeros(len(centres), bool), _blocks(x, block))
    return counts.reshape(-1)[: len(x)], held


def precision_recall(
    real: ArrayLike, generated: ArrayLike, *, k: int = 3, block: int = 512
) -> dict[str, float]:
    """Precision, recall, density and coverage by balls about examples, each in [0, 1] but density.

    The manifold of a set is the union of balls about its features `[N, D]`, each as wide as the
    distance to the k-th neighbour. `precision`: the share of what is generated that lies on the
    manifold of the data; `recall`: the share of the data that lies on the manifold of what is
    generated (1904.06991, eq. 1 and 2). `density`: in how many balls of the data, over k, a
    generated example lies on average; `coverage`: the share of the balls of the data that hold any
    (2002.09797, eq. 4 and 5), which outliers distort less.

    Memory is `block · N` distances. Distances are float32 of features about the data's mean.

    Args:
      real: features of the data.
      generated: of what a model made.
      k: which neighbour; 3 in 1904.06991, 5 in 2002.09797.
      block: examples compared with all others at once.

    Raises:
      ValueError: these are no features of one kind, are not finite, or a set has no k-th neighbour.
    """
    sets: list[Any] = [np.asarray(a, np.float64) for a in (real, generated)]
    if any(a.ndim != 2 for a in sets) or sets[0].shape[1] != sets[1].shape[1]:
        raise ValueError(
            f"expected features [N, D] and [M, D], found {sets[0].shape} and {sets[1].shape}"
        )
    if not 1 <= k < min(map(len, sets)):
        raise ValueError(
            f"k={k} neighbours need k + 1 examples of each, found {len(sets[0])} and {len(sets[1])}"
        )
    for name, a in zip(("the data", "what is generated"), sets, strict=True):
        if not np.isfinite(a).all():
            raise ValueError(f"features of {name} are not finite")
    mean = sets[0].mean(axis=0)
    x, y = (jnp.asarray(a - mean, jnp.float32) for a in sets)
    real_radii, generated_radii = (squared_radii(a, k, block) for a in (x, y))
    inside, held = map(np.asarray, _balls(x, real_radii, y, block))
    found, _ = map(np.asarray, _balls(y, generated_radii, x, block))
    return {
        "precision": float((inside > 0).mean()),
        "recall": float((found > 0).mean()),
        "density": float(inside.mean() / k),
        "coverage": float(held.mean()),
    }
