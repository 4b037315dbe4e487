"""All mass on one value."""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Point:
    """What is known for certain, such as the event that a model without latents has drawn.

    Attributes:
      value: `[...]`, of any dtype.
    """

    value: jax.Array

    @property
    def mean(self) -> jax.Array:
        return self.value

    def sample(self, key: jax.Array) -> jax.Array:
        del key
        return self.value

    def log_prob(self, x: jax.Array) -> jax.Array:
        return jnp.where(x == self.value, 0.0, -jnp.inf)
