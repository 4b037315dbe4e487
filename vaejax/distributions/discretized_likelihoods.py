"""Likelihoods of 8-bit data: densities integrated over the bins of their levels."""

import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.distributions.laplace import DiscretizedLaplace
from vaejax.distributions.likelihood import Likelihood

__all__ = ["discretized_laplace", "discretized_logistic", "discretized_logistic_mixture"]


def discretized_laplace(levels: int = 256) -> Likelihood:
    """For 8-bit data: a Laplace density of each element over bins, location and scale predicted."""

    def apply(features: jax.Array) -> DiscretizedLaplace:
        loc, log_scale = jnp.split(features, 2, axis=-1)
        # Starts as that of `discretized_logistic`.
        scale = jnp.exp(jnp.maximum(log_scale - 2.0, -7.0))
        return DiscretizedLaplace(loc + 0.5, scale, levels)

    return Likelihood(lambda channels: 2 * channels, apply)


def discretized_logistic(levels: int = 256) -> Likelihood:
    """For 8-bit data: a logistic for each element, its location and scale predicted."""

    def apply(features: jax.Array) -> distributions.DiscretizedLogistic:
        loc, log_scale = jnp.split(features, 2, axis=-1)
        # Starts as a logistic that covers [0, 1]; e⁻⁷ is a quarter of a grey level.
        scale = jnp.exp(jnp.maximum(log_scale - 2.0, -7.0))
        return distributions.DiscretizedLogistic(loc + 0.5, scale, levels)

    return Likelihood(lambda channels: 2 * channels, apply)


def discretized_logistic_mixture(components: int = 10, levels: int = 256) -> Likelihood:
    """A mixture over whole pixels, autoregressive over channels (PixelCNN++, 1701.05517)."""

    def sizes(channels: int) -> tuple[int, int, int, int]:
        per_channel = components * channels
        return components, per_channel, per_channel, per_channel * (channels - 1) // 2

    def apply(features: jax.Array) -> distributions.DiscretizedLogisticMixture:
        channels = next(c for c in range(1, 65) if sum(sizes(c)) >= features.shape[-1])
        if sum(sizes(channels)) != features.shape[-1]:
            raise ValueError(
                f"a mixture of {components} logistics over C channels needs one of the widths "
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
