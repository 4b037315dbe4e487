"""Precision, recall, density and coverage of generated examples, from features."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from vaejax.core.distances import squared_distances

__all__ = ["precision_recall", "squared_radii"]


_ROUNDING = 4e-15  # of squared distances in float64, relative to the squared norms


def _blocks(x: jax.Array, block: int) -> tuple[jax.Array, jax.Array]:
    """Splits `[N, D]` into blocks `[⌈N / block⌉, block, D]`, the last padded, with row numbers.

    Rows of padding have the numbers from N on.
    """
    padded = jnp.pad(x, ((0, -len(x) % block), (0, 0)))
    return padded.reshape(-1, block, x.shape[1]), jnp.arange(len(padded)).reshape(-1, block)


@functools.partial(jax.jit, static_argnames=("k", "block"))
def _squared_radii(x: jax.Array, k: int, block: int) -> jax.Array:
    def radius(part: tuple[jax.Array, jax.Array]) -> jax.Array:
        rows, numbers = part
        columns = jnp.arange(len(x))[None]
        distances = jnp.where(numbers[:, None] == columns, jnp.inf, squared_distances(rows, x))

        # XLA's top_k on CPU sorts whole rows of float64.
        def remove_nearest(_: int, distances: jax.Array) -> jax.Array:
            return jnp.where(distances.argmin(axis=1)[:, None] == columns, jnp.inf, distances)

        return jax.lax.fori_loop(1, k, remove_nearest, distances).min(axis=1)

    return jax.lax.map(radius, _blocks(x, block)).reshape(-1)[: len(x)]


@functools.partial(jax.jit, static_argnames=("block",))
def _ball_membership(
    centres: jax.Array, radii: jax.Array, x: jax.Array, block: int
) -> tuple[jax.Array, jax.Array]:
    """The number of balls that contain each of x, `[n]`, and whether each ball has any, `[N]`."""
    norms = jnp.square(centres).sum(axis=1)[None]

    def body(occupied: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        rows, numbers = part
        # An example on the boundary, such as a copy of a neighbour, is inside.
        rounding = _ROUNDING * (jnp.square(rows).sum(axis=1)[:, None] + norms)
        inside = squared_distances(rows, centres) <= radii[None] + rounding
        inside = inside & (numbers < len(x))[:, None]
        return occupied | inside.any(axis=0), inside.sum(axis=1)

    start = jnp.zeros(len(centres), bool)
    occupied, counts = jax.lax.scan(body, start, _blocks(x, block))
    return counts.reshape(-1)[: len(x)], occupied


def squared_radii(x: ArrayLike, k: int, block: int = 512) -> np.ndarray:
    """Squared distance of each of `[N, D]` from its k-th nearest neighbour, excluding itself."""
    with jax.enable_x64(True):
        return np.asarray(_squared_radii(jnp.asarray(x, jnp.float64), k, block))


def precision_recall(
    real: ArrayLike, generated: ArrayLike, *, k: int = 3, block: int = 512
) -> dict[str, float]:
    """Precision, recall, density and coverage; all but density in [0, 1].

    The manifold of a set is the union of balls about its features `[N, D]`, each with the distance
    to the k-th nearest neighbour as radius. `precision`: the fraction of generated examples on the
    manifold of the data; `recall`: the fraction of the data on the manifold of the generated
    examples (1904.06991, eq. 1 and 2). `density`: the mean number of balls of the data that contain
    a generated example, over k; `coverage`: the fraction of balls of the data that contain any
    (2002.09797, eq. 4 and 5); both are less sensitive to outliers.

    Memory is `block · N` distances. They are float64 of features centred at the data's mean, exact
    also for tight groups of features, down to 1e-5 of the distance between groups.

    Args:
      real: features of the data.
      generated: features of generated examples.
      k: which neighbour; 3 in 1904.06991, 5 in 2002.09797.
      block: examples compared with all others at once.

    Raises:
      ValueError: the shapes do not fit, values are not finite, or a set has no k-th neighbour.
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
    for name, a in zip(("the data", "the generated examples"), sets, strict=True):
        if not np.isfinite(a).all():
            raise ValueError(f"features of {name} are not finite")
    mean = sets[0].mean(axis=0)
    with jax.enable_x64(True):
        x, y = (jnp.asarray(a - mean) for a in sets)
        radii = [_squared_radii(a, k, block) for a in (x, y)]
        real_balls, occupied = map(np.asarray, _ball_membership(x, radii[0], y, block))
        generated_balls = np.asarray(_ball_membership(y, radii[1], x, block)[0])
    return {
        "precision": float((real_balls > 0).mean()),
        "recall": float((generated_balls > 0).mean()),
        "density": float(real_balls.mean() / k),
        "coverage": float(occupied.mean()),
    }
