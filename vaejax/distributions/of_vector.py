"""The distribution of a map whose elements, in one row, follow a density of vectors."""

import dataclasses

import jax

from vaejax.core.distribution import STATIC, Capabilities, Distribution, capabilities_of

__all__ = ["OfVector"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OfVector:
    """x `[B, *shape]` of which x.reshape(B, D) follows the base.

    Attributes:
      base: a density of vectors `[B, D]`, whose log-probability is `[B]` or `[B, D]`.
      shape: of one event.
    """

    base: Distribution
    shape: tuple[int, ...] = dataclasses.field(metadata=STATIC)

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.base)._replace(elementwise=False)

    @property
    def mean(self) -> jax.Array:
        return self.base.mean.reshape(-1, *self.shape)

    def sample(self, key: jax.Array) -> jax.Array:
        """A sample, reparameterised if that of the base is."""
        return self.base.sample(key).reshape(-1, *self.shape)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p of events, nats `[B]`."""
        log_p = self.base.log_prob(x.reshape(x.shape[0], -1))
        return log_p.reshape(x.shape[0], -1).sum(axis=1)
