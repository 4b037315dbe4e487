"""A point mass."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vaejax.core.distribution import Capabilities

__all__ = ["Delta"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Delta:
    """All mass on one value, such as an event sampled from a model without latents.

    Attributes:
      value: `[...]`, of any dtype.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(continuous=True)

    value: jax.Array

    @property
    def mean(self) -> jax.Array:
        return self.value

    def sample(self, key: jax.Array) -> jax.Array:
        del key
        return self.value

    def log_prob(self, x: jax.Array) -> jax.Array:
        return jnp.where(x == self.value, 0.0, -jnp.inf)
