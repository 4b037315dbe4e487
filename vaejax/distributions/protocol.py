"""The protocol that distributions implement."""

from typing import Protocol

import jax

from vaejax.distributions.capabilities import Capabilities

__all__ = ["STATIC", "Distribution"]

STATIC = {"static": True}  # metadata of a field that is part of the type, not an array


class Distribution(Protocol):
    """The methods of every distribution; one from outside the library needs only these.

    A class is a frozen dataclass registered with `jax.tree_util.register_dataclass`, whose arrays
    have the batch as their leading axis. As a posterior of one vector `[B, D]` it may also have
    `variance` `[B, D]`, which traversals need, and `project(z)`, the nearest point of its support,
    where that is not all of ℝᴰ (a sphere, say).
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the distribution supports; usually a class attribute."""

    @property
    def mean(self) -> jax.Array:
        """The mean, of the shape of a sample (for classes, of a one-hot sample)."""

    def sample(self, key: jax.Array) -> jax.Array:
        """One sample, reparameterised where the density is continuous."""

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Log-density or log-probability of x, nats; `capabilities.elementwise` gives its shape."""
