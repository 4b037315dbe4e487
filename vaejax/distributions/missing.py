"""Distributions of events of which some elements are missing."""

import dataclasses
from typing import cast

import jax
import jax.numpy as jnp

from vaejax.core.distribution import (
    Capabilities,
    Distribution,
    WithVariance,
    capabilities_of,
    is_discrete,
)

__all__ = ["WithMissing", "elements_present", "with_missing"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WithMissing:
    """A distribution of events with missing elements, whose log-probability is 0.

    `mean` and `sample` are those of the complete event. Of a `Masked` distribution, in contrast,
    the event is complete, and a part of it is a condition.

    Attributes:
      base: the distribution of complete events, `[B, ...]`.
      mask: bool, of the event's shape; false where an element is missing.
    """

    base: Distribution
    mask: jax.Array

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.base)

    @property
    def mean(self) -> jax.Array:
        return self.base.mean

    @property
    def variance(self) -> jax.Array:
        return cast(WithVariance, self.base).variance

    @property
    def indices(self) -> jax.Array:
        """The most likely classes, of a distribution over classes; −1 where missing."""
        assert is_discrete(self.base)
        return jnp.where(self.mask, self.base.indices, -1)

    @property
    def size(self) -> int:
        """The number of classes, of a distribution over classes."""
        assert is_discrete(self.base)
        return self.base.size

    def sample(self, key: jax.Array) -> jax.Array:
        return self.base.sample(key)

    def log_prob(self, x: jax.Array) -> jax.Array:
        log_p = self.base.log_prob(x)
        # A density over whole pixels has no axis of channels.
        return jnp.where(self.mask if log_p.ndim == x.ndim else self.mask[..., 0], log_p, 0.0)


def with_missing(p: Distribution, x: jax.Array, mask: jax.Array | None) -> Distribution:
    """p for events x of which only the elements in the mask are present; p itself without a mask.

    Args:
      p: of complete events.
      x: the events, or their shapes.
      mask: bool, of the leading axes of x.

    Raises:
      ValueError: p is a density of whole events, which has no value for a part of one.
    """
    if mask is None:
        return p
    axes = jax.eval_shape(p.log_prob, x).ndim
    if axes < max(x.ndim - 1, mask.ndim):
        raise ValueError(
            f"the likelihood {type(p).__name__} is a density of whole events, so it cannot honour "
            "a mask: use a likelihood of independent elements, or data without missing values"
        )
    mask = mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))
    return WithMissing(p, jnp.broadcast_to(mask, x.shape))


def elements_present(p: Distribution, x: jax.Array) -> jax.Array | None:
    """Which elements of the events x are present, bool of x's shape; None if all are."""
    return jnp.broadcast_to(p.mask, x.shape) if isinstance(p, WithMissing) else None
