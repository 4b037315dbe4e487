"""What a density is, for the rest of the library."""

from typing import Protocol

import jax

STATIC = {"static": True}  # metadata of a field that is part of the type, not an array


class Distribution(Protocol):
    """What every density here offers; a user's own needs no more."""

    @property
    def mean(self) -> jax.Array:
        """The mean, of the shape of a draw (of a one-hot draw for classes)."""

    def sample(self, key: jax.Array) -> jax.Array:
        """One draw, reparameterised where the density is continuous."""

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Log-density or log-probability of x, in nats, elementwise."""
