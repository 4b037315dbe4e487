"""Logistic distributions discretised to the grey levels of 8-bit data."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp

from vaejax.core.distribution import STATIC, Capabilities
from vaejax.distributions.support import Support, grid

__all__ = ["DiscretizedLogistic", "DiscretizedLogisticMixture"]


def _log_logistic_bin(
    x: jax.Array, loc: jax.Array, scale: jax.Array, levels: int, lowest: float = 0.0
) -> jax.Array:
    """log P(bin of x) under a logistic density; x on a grid of `levels` values from `lowest`.

    The outermost bins extend to infinity. Computed by σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b−a)), in
    which a − b = width / scale is known exactly, so that nearly equal numbers are never subtracted.
    """
    highest = 1.0
    width = (highest - lowest) / (levels - 1)
    upper = (x + width / 2 - loc) / scale
    lower = (x - width / 2 - loc) / scale
    inner = jax.nn.log_sigmoid(upper) + jax.nn.log_sigmoid(-lower)
    inner = inner + jnp.log(-jnp.expm1(-width / scale))
    at_top = x > highest - width / 2
    at_bottom = x < lowest + width / 2
    outer = jnp.where(at_top, jax.nn.log_sigmoid(-lower), jax.nn.log_sigmoid(upper))
    return jnp.where(at_top | at_bottom, outer, inner)


def _clipped_mean(loc: jax.Array, scale: jax.Array, lowest: float = 0.0) -> jax.Array:
    """The mean of a logistic variable clipped to [lowest, 1]: ∫ P(X > t) dt over this interval."""
    highest = 1.0
    above = jax.nn.softplus((loc - lowest) / scale) - jax.nn.softplus((loc - highest) / scale)
    return jnp.clip(lowest + scale * above, lowest, highest)


def _logistic(key: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    return loc + scale * jax.random.logistic(key, loc.shape, loc.dtype)


def _to_grid(x: jax.Array, levels: int) -> jax.Array:
    return jnp.round(jnp.clip(x, 0.0, 1.0) * (levels - 1)) / (levels - 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic:
    """A logistic density integrated over the bins of `levels` grey values in [0, 1].

    IAF (1606.04934, appendix C.3). The outermost bins include the tails, so the probabilities of
    the `levels` values sum to one. `mean` is that of the density clipped to [0, 1], which differs
    only by the rounding to grey values.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(bits_per_dim=True)

    loc: jax.Array
    scale: jax.Array
    levels: int = dataclasses.field(default=256, metadata=STATIC)

    @property
    def support(self) -> Support:
        return grid(self.levels)

    @property
    def mean(self) -> jax.Array:
        return _clipped_mean(self.loc, self.scale)

    def sample(self, key: jax.Array) -> jax.Array:
        return _to_grid(_logistic(key, self.loc, self.scale), self.levels)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return _log_logistic_bin(x, self.loc, self.scale, self.levels)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiscretizedLogisticMixture:
    """A mixture of discretised logistics over whole pixels, autoregressive over channels.

    PixelCNN++ (1701.05517, section 2.2): each pixel has one set of mixture weights; within a
    component, the location of channel c is shifted by a linear function of the channels before it.
    Locations, scales and coefficients refer to values rescaled to [-1, 1], as in the paper; x is in
    [0, 1].

    Attributes:
      logits: mixture weights `[..., M]`.
      loc: `[..., M, C]`.
      scale: `[..., M, C]`.
      coefficients: `[..., M, C * (C - 1) / 2]`, rows of the strictly lower triangle.
      levels: number of grey values per channel.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(elementwise=False, bits_per_dim=True)

    logits: jax.Array
    loc: jax.Array
    scale: jax.Array
    coefficients: jax.Array
    levels: int = dataclasses.field(default=256, metadata=STATIC)

    @property
    def support(self) -> Support:
        return grid(self.levels)

    def _shifted(self, x: jax.Array) -> jax.Array:
        """Locations given the true channels x `[..., C]` in [-1, 1]: `[..., M, C]`."""
        locs, row = [], 0
        for c in range(self.loc.shape[-1]):
            weights = self.coefficients[..., row : row + c]  # [..., M, c]
            locs.append(self.loc[..., c] + jnp.sum(weights * x[..., None, :c], axis=-1))
            row += c
        return jnp.stack(locs, axis=-1)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """x `[..., C]` in [0, 1] -> `[...]`, nats: the axis of channels is reduced."""
        x = 2.0 * x - 1.0
        bins = _log_logistic_bin(
            x[..., None, :], self._shifted(x), self.scale, self.levels, lowest=-1.0
        )
        log_weights = jax.nn.log_softmax(self.logits)
        return jax.nn.logsumexp(log_weights + bins.sum(axis=-1), axis=-1)

    def _scan_channels(self, choose: Callable[[int, jax.Array, jax.Array], jax.Array]) -> jax.Array:
        """Values chosen channel by channel, each given those before: `[..., M, C]` in [-1, 1].

        Args:
          choose: (channel, loc, scale) -> value of this channel.
        """
        channels: list[jax.Array] = []
        row = 0
        for c in range(self.loc.shape[-1]):
            loc = self.loc[..., c]
            for j, before in enumerate(channels):
                loc = loc + self.coefficients[..., row + j] * before
            channels.append(choose(c, loc, self.scale[..., c]))
            row += c
        return jnp.stack(channels, axis=-1)

    def sample(self, key: jax.Array) -> jax.Array:
        component_key, key = jax.random.split(key)

        def sample_channel(c: int, loc: jax.Array, scale: jax.Array) -> jax.Array:
            x = _logistic(jax.random.fold_in(key, c), loc, scale)
            return 2.0 * _to_grid((x + 1.0) / 2.0, self.levels) - 1.0

        x = self._scan_channels(sample_channel)  # [..., M, C]
        component = jax.random.categorical(component_key, self.logits)[..., None, None]
        x = jnp.take_along_axis(x, component, axis=-2)[..., 0, :]
        return (x + 1.0) / 2.0

    @property
    def mean(self) -> jax.Array:
        """The means of the clipped densities averaged over components, `[..., C]` in [0, 1].

        Exact for the first channel up to rounding to grey values; the location of a later one is
        taken at the means of the channels before it.
        """
        x = self._scan_channels(lambda c, loc, scale: _clipped_mean(loc, scale, -1.0))
        weights = jax.nn.softmax(self.logits)[..., None]
        return (jnp.sum(weights * x, axis=-2) + 1.0) / 2.0
