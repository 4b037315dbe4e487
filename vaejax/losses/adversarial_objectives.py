"""Losses as functions of a discriminator's logits, of one position or of many."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.types import PyTree

__all__ = ["OBJECTIVES", "Objective", "mean_of_positions"]


class Objective(NamedTuple):
    """Losses as functions of the discriminator's logit (positive for "data"), elementwise.

    Attributes:
      real: the discriminator's loss on data.
      fake: the discriminator's loss on a fake.
      generator: the decoder's loss on a fake.
      threshold: logits above it count as "data" in the accuracy.
    """

    real: Callable[[jax.Array], jax.Array]
    fake: Callable[[jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]
    threshold: float = 0.0


def _hinge(logits: jax.Array) -> jax.Array:
    return jax.nn.relu(1.0 + logits)


OBJECTIVES: dict[str, Objective] = {
    # −log D(x), −log(1 − D(x̃)), and minus the latter for the decoder (1406.2661, eq. 1).
    "gan": Objective(lambda d: jax.nn.softplus(-d), jax.nn.softplus, lambda d: -jax.nn.softplus(d)),
    # The decoder minimises −log D(x̃) instead (1406.2661, section 3).
    "non_saturating": Objective(
        lambda d: jax.nn.softplus(-d), jax.nn.softplus, lambda d: jax.nn.softplus(-d)
    ),
    # Geometric GAN (1705.02894, eq. 20 and 21); VQGAN's code.
    "hinge": Objective(lambda d: _hinge(-d), _hinge, lambda d: -d),
    # LSGAN (1611.04076, eq. 9): targets 1 for data and 0 for fakes.
    "least_squares": Objective(
        lambda d: 0.5 * jnp.square(d - 1.0),
        lambda d: 0.5 * jnp.square(d),
        lambda d: 0.5 * jnp.square(d - 1.0),
        threshold=0.5,
    ),
}


def mean_of_positions(
    logits: PyTree, function: Callable[[jax.Array], jax.Array] = lambda d: d
) -> jax.Array:
    """A function of logits, averaged over the positions of each array, then over arrays: `[B]`.

    Args:
      logits: an array `[B, ...]`, or several of them, as of a discriminator of several scales.
      function: elementwise.
    """
    values = [function(d).reshape(d.shape[0], -1).mean(axis=1) for d in jax.tree.leaves(logits)]
    return jnp.stack(values).mean(axis=0)
