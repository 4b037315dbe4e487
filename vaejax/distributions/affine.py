"""Densities under a change of units: x = shift + scale · u, where u follows a base density."""

import dataclasses
from typing import cast

import jax
import jax.numpy as jnp

from vaejax.core.distribution import Capabilities, Distribution, WithVariance, capabilities_of
from vaejax.distributions.composite import Masked
from vaejax.distributions.missing import WithMissing

__all__ = ["Affine", "in_base_units", "in_units"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Affine:
    """The density of shift + scale · u for u ~ base: log p(x) = log p_base(u) − Σ log scale.

    Attributes:
      base: a density over all real numbers, `[B, ...]`.
      shift: of the shape of the event.
      scale: positive, of the shape of the event.
    """

    base: Distribution
    shift: jax.Array
    scale: jax.Array

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.base)

    @property
    def mean(self) -> jax.Array:
        return self.shift + self.scale * self.base.mean

    @property
    def variance(self) -> jax.Array:
        return jnp.square(self.scale) * cast(WithVariance, self.base).variance

    def sample(self, key: jax.Array) -> jax.Array:
        """A sample, reparameterised if that of the base is."""
        return self.shift + self.scale * self.base.sample(key)

    def log_prob(self, x: jax.Array) -> jax.Array:
        log_p = self.base.log_prob((x - self.shift) / self.scale)
        log_scale = jnp.broadcast_to(jnp.log(self.scale), x.shape)
        # A density of whole events has reduced the last axes.
        return log_p - log_scale.sum(axis=tuple(range(log_p.ndim, x.ndim)))


def in_units(p: Distribution, shift: jax.Array, scale: jax.Array) -> Distribution:
    """The distribution of shift + scale · u for u ~ p; observed elements are transformed too.

    Args:
      p: over u, `[B, ...]`.
      shift: of the last axes of the event.
      scale: the same, positive.
    """
    shift, scale = (jnp.broadcast_to(value, p.mean.shape) for value in (shift, scale))
    if isinstance(p, Masked):
        base, observed = in_units(p.base, shift, scale), shift + scale * p.observed
        return dataclasses.replace(p, base=base, observed=observed)
    if isinstance(p, WithMissing):
        return dataclasses.replace(p, base=in_units(p.base, shift, scale))
    return Affine(p, shift, scale)


def in_base_units(p: Distribution, x: jax.Array) -> tuple[Distribution, jax.Array, jax.Array]:
    """A distribution and its event in the units of the model: `(base, u, Σ log scale [B])`.

    The inverse of `in_units`; any other distribution is returned with its event and zeros.
    """
    zeros = jnp.zeros(x.shape[0])
    if isinstance(p, Masked):
        base, u, log_scale = in_base_units(p.base, x)
        observed = in_base_units(p.base, p.observed)[1]
        return dataclasses.replace(p, base=base, observed=observed), u, log_scale
    if isinstance(p, WithMissing):
        base, u, _ = in_base_units(p.base, x)
        if not isinstance(p.base, Affine):
            return WithMissing(base, p.mask), u, zeros
        log_scale = jnp.where(p.mask, jnp.log(p.base.scale), 0.0)
        return WithMissing(base, p.mask), u, log_scale.reshape(x.shape[0], -1).sum(axis=1)
    if not isinstance(p, Affine):
        return p, x, zeros
    log_scale = jnp.log(p.scale).reshape(p.scale.shape[0], -1).sum(axis=1)
    return p.base, (x - p.shift) / p.scale, log_scale
