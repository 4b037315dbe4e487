"""Pairs of times t1 and t2 = t1 + δ of a sequence, and the distribution of δ."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = [
    "DeltaDistribution",
    "delta_distribution",
    "sample_pairs",
    "sample_present_pairs",
]


class DeltaDistribution(NamedTuple):
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
    def max_delta(self) -> int:
        """The largest δ of all ranges."""
        return max(self.high)


def delta_distribution(ranges: Sequence[Sequence[float]], length: int) -> DeltaDistribution:
    """The distribution of δ for ranges from a config.

    Args:
      ranges: (lowest δ, highest δ), both included, or (lowest, highest, weight) of each range.
      length: T of the sequences.

    Raises:
      ValueError: there are no ranges, a range is empty or not of integers from 1 on, it does not
        fit into the sequence, or its weight is not positive.
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
    return DeltaDistribution(
        tuple(int(row[0]) for row in rows),
        tuple(int(row[1]) for row in rows),
        tuple(row[2] / total for row in rows),
    )


def sample_pairs(
    key: jax.Array, shape: tuple[int, ...], deltas: DeltaDistribution, length: int
) -> tuple[jax.Array, jax.Array]:
    """Samples of t1 and t2 = t1 + δ, int32 of the given shape.

    δ is sampled from its mixture, then t1 uniformly from the times with t1 + δ < length.
    """
    range_key, delta_key, start_key = jax.random.split(key, 3)
    which = jax.random.categorical(range_key, jnp.log(jnp.asarray(deltas.weight)), shape=shape)
    low, high = jnp.asarray(deltas.low)[which], jnp.asarray(deltas.high)[which]
    delta = jax.random.randint(delta_key, shape, low, high + 1)
    first = jax.random.randint(start_key, shape, 0, length - delta)
    return first, first + delta


def sample_present_pairs(
    key: jax.Array, num_pairs: int, deltas: DeltaDistribution, mask: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Samples of t1 and t2, as `sample_pairs`, among the times that are present.

    δ is sampled from its mixture; where no two present times are that far apart, uniformly from
    those in 1 … max δ that occur. Then t1 is uniform over the times with t1 and t1 + δ present. For
    sequences that are present up to a time, the pairs are those of sequences of this length.

    Args:
      key: of the samples.
      num_pairs: P, of each sequence.
      deltas: distribution of δ.
      mask: of the times, bool `[B, T]`.

    Returns:
      `(t1, t2, valid)`, `[B, P]` each; pairs that are not valid are of sequences without two
      present times that are at most max δ apart.
    """
    shape, length = (mask.shape[0], num_pairs), mask.shape[1]
    range_key, delta_key, start_key = jax.random.split(key, 3)
    which = jax.random.categorical(range_key, jnp.log(jnp.asarray(deltas.weight)), shape=shape)
    low, high = jnp.asarray(deltas.low)[which], jnp.asarray(deltas.high)[which]
    delta = jax.random.randint(delta_key, shape, low, high + 1)

    # The present t1 of every δ, bool [B, δ, T]; δ = 0 is not a pair.
    later = [jnp.pad(mask[:, d:], ((0, 0), (0, d))) & mask for d in range(1, deltas.max_delta + 1)]
    starts = jnp.stack([jnp.zeros_like(mask), *later], axis=1)
    counts = starts.sum(axis=2)  # [B, δ]
    possible = jnp.log((counts > 0).astype(jnp.float32))[:, None]  # [B, 1, δ]
    other = jax.random.categorical(jax.random.fold_in(key, 1), possible, shape=shape)
    fits = jnp.take_along_axis(counts, delta, axis=1) > 0
    delta = jnp.where(fits, delta, other).astype(jnp.int32)
    count = jnp.take_along_axis(counts, delta, axis=1)
    number = jax.random.randint(start_key, shape, 0, jnp.maximum(count, 1))
    order = jnp.cumsum(jnp.take_along_axis(starts, delta[..., None], axis=1), axis=2)  # [B, P, T]
    first = jnp.argmax(order == number[..., None] + 1, axis=2).astype(jnp.int32)
    second = jnp.minimum(first + delta, length - 1)
    return first, second, count > 0
