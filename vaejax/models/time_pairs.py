"""Pairs of times: t1, from where one jumps, and t2 = t1 + δ, where one lands."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Steps(NamedTuple):
    """A mixture of uniform distributions of δ.

    Attributes:
      low: the smallest δ of each range.
      high: the largest.
      weight: the probability of each range; they sum to 1.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    weight: tuple[float, ...]

    @property
    def longest(self) -> int:
        """The largest δ of all."""
        return max(self.high)


def make_steps(ranges: Sequence[Sequence[float]], length: int) -> Steps:
    """The distribution of δ that a config describes.

    Args:
      ranges: (lowest δ, highest δ), both included, or (lowest, highest, weight) of each range.
      length: of the sequences, T.

    Raises:
      ValueError: no range, a range that is none, one that does not fit into the sequence, or
        a weight that is not positive.
    """
    rows = [(row[0], row[1], float(row[2]) if len(row) > 2 else 1.0) for row in ranges]
    for low, high, weight in rows:
        if not 1 <= low <= high or int(low) != low or int(high) != high or not weight > 0:
            raise ValueError(
                "steps are ranges (lowest, highest) of whole numbers from 1 on, or with a weight > "
                f"0 as a third, found {(low, high, weight)}"
            )
        if high >= length:
            raise ValueError(
                f"steps of up to {high} do not fit into sequences of length {length}: at most "
                f"{length - 1}"
            )
    if not rows:
        raise ValueError("steps need at least one range (lowest, highest), found none")
    total = sum(row[2] for row in rows)
    return Steps(
        tuple(int(row[0]) for row in rows),
        tuple(int(row[1]) for row in rows),
        tuple(row[2] / total for row in rows),
    )


def draw_pairs(
    key: jax.Array, shape: tuple[int, ...], steps: Steps, length: int
) -> tuple[jax.Array, jax.Array]:
    """t1 and t2 = t1 + δ, int32 of a shape: δ from the mixture, then t1 uniform where both fit."""
    which_key, step_key, start_key = jax.random.split(key, 3)
    which = jax.random.categorical(which_key, jnp.log(jnp.asarray(steps.weight)), shape=shape)
    low, high = jnp.asarray(steps.low)[which], jnp.asarray(steps.high)[which]
    delta = jax.random.randint(step_key, shape, low, high + 1)
    first = jax.random.randint(start_key, shape, 0, length - delta)
    return first, first + delta
