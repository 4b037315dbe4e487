"""Decoder features -> p(x | z): how many channels a likelihood wants, and what it makes of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.settings import make


class Likelihood(NamedTuple):
    """A likelihood of events whose last axis has C channels.

    Attributes:
      width: C -> channels wanted of the decoder.
      apply: features `[..., width(C)]` -> a distribution over `[..., C]`.
    """

    width: Callable[[int], int]
    apply: Callable[[jax.Array], Any]


def bernoulli() -> Likelihood:
    """For binary data; on grey levels its log-"density" is only a cross-entropy."""
    return Likelihood(lambda channels: channels, distributions.Bernoulli)


def normal(scale: float = 1.0) -> Likelihood:
    """A Gaussian of fixed standard deviation: nll is squared error / 2σ² and a constant."""

    def apply(features: jax.Array) -> distributions.Normal:
        return distributions.Normal(features, jnp.full_like(features, scale))

    return Likelihood(lambda channels: channels, apply)


def discretized_logistic(levels: int = 256) -> Likelihood:
    """One logistic a channel, location and scale of each pixel predicted; for 8-bit data."""

    def apply(features: jax.Array) -> distributions.DiscretizedLogistic:
        loc, log_scale = jnp.split(features, 2, axis=-1)
        # Starts as a logistic that covers [0, 1]; e⁻⁷ is a quarter of a grey level.
        scale = jnp.exp(jnp.maximum(log_scale - 2.0, -7.0))
        return distributions.DiscretizedLogistic(loc + 0.5, scale, levels)

    return Likelihood(lambda channels: 2 * channels, apply)


def discretized_logistic_mixture(components: int = 10, levels: int = 256) -> Likelihood:
    """A mixture of logistics over whole pixels, channels in sequence (PixelCNN++, 1701.05517)."""

    def sizes(channels: int) -> tuple[int, int, int, int]:
        per_channel = components * channels
        return components, per_channel, per_channel, per_channel * (channels - 1) // 2

    def apply(features: jax.Array) -> distributions.DiscretizedLogisticMixture:
        channels = next(c for c in range(1, 65) if sum(sizes(c)) >= features.shape[-1])
        if sum(sizes(channels)) != features.shape[-1]:
            raise ValueError(
                f"a mixture of {components} logistics over C channels wants one of the widths "
                f"{[sum(sizes(c)) for c in range(1, 5)]} ..., found {features.shape[-1]}"
            )
        ends = [sum(sizes(channels)[: i + 1]) for i in range(3)]
        logits, loc, log_scale, raw = jnp.split(features, ends, axis=-1)
        lead = features.shape[:-1]
        shape = (*lead, components, channels)
        return distributions.DiscretizedLogisticMixture(
            logits,
            loc.reshape(shape),
            jnp.exp(jnp.maximum(log_scale, -7.0)).reshape(shape),
            jnp.tanh(raw).reshape(*lead, components, channels * (channels - 1) // 2),
            levels,
        )

    return Likelihood(lambda channels: sum(sizes(channels)), apply)


LIKELIHOODS: dict[str, Callable[..., Likelihood]] = {
    "bernoulli": bernoulli,
    "normal": normal,
    "discretized_logistic": discretized_logistic,
    "discretized_logistic_mixture": discretized_logistic_mixture,
}


def likelihood(setting: str | Mapping[str, Any] | Likelihood) -> Likelihood:
    """A likelihood from its name, from `{"kind": name, **arguments}`, or given as it is.

    Raises:
      ValueError: the kind is unknown or its arguments do not fit.
    """
    if isinstance(setting, Likelihood):
        return setting
    return make(LIKELIHOODS, setting, "likelihood")
