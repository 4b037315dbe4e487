"""Bounds that keep the exponential of a network's output finite."""

import jax
import jax.numpy as jnp

__all__ = ["soft_bound"]


def soft_bound(
    x: jax.Array, low: float = -15.0, high: float = 5.0, *, margin: float = 5.0
) -> jax.Array:
    """x within [low, high], exactly; beyond, it approaches low − margin or high + margin.

    The logarithm of a standard deviation is made by an untrained network from whatever the data
    hold, and its exponential would overflow for inputs far from unit scale. Beyond the range the
    slope decreases as 1 / (1 + distance / margin)², so that the gradient does not vanish.

    Args:
      x: any numbers.
      low: end of the range in which x is unchanged; the default is a deviation of 3e-7.
      high: the other end; the default is a deviation of 148, where N(0, 1) is the prior.
      margin: how far the result can exceed the range.
    """
    over, under = jax.nn.relu(x - high), jax.nn.relu(low - x)
    beyond = margin / (1.0 + under / margin) - margin / (1.0 + over / margin)
    return jnp.clip(x, low, high) + beyond
