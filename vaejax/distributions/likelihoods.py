"""Decoder features -> p(x | z): how many channels a likelihood wants, and what it makes of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.core.registry import make, near_names
from vaejax.distributions.negative_binomial import NegativeBinomial


class Likelihood(NamedTuple):
    """A likelihood of events whose last axis has C channels.

    Attributes:
      width: C -> channels wanted of the decoder.
      apply: features `[..., width(C) + constants]` -> a distribution over `[..., C]`.
      constants: learned numbers that stand behind the decoder's channels, the same everywhere.
    """

    width: Callable[[int], int]
    apply: Callable[[jax.Array], Any]
    constants: int = 0


def bernoulli() -> Likelihood:
    """For binary data; on grey levels its log-"density" is only a cross-entropy."""
    return Likelihood(lambda channels: channels, distributions.Bernoulli)


_SCALES = ("learned", "predicted")
LOWEST_LOG_SCALE = -6.0  # e⁻⁶ is a little over half of one of 255 grey levels


def _scale(log_scale: jax.Array) -> jax.Array:
    """exp, but of a logarithm that levels off at the lowest: σ-VAE's code does the same."""
    return jnp.exp(LOWEST_LOG_SCALE + jax.nn.softplus(log_scale - LOWEST_LOG_SCALE))


def scale_feature(scale: jax.Array) -> jax.Array:
    """The feature from which `normal('predicted')` makes this standard deviation."""
    above = jnp.log(scale) - LOWEST_LOG_SCALE
    return LOWEST_LOG_SCALE + above + jnp.log(-jnp.expm1(-above))


def normal(scale: float | str = 1.0) -> Likelihood:
    """A Gaussian.

    Args:
      scale: its standard deviation σ. A number is fixed: nll is squared error / 2σ² and a constant.
        `'learned'` is one trained number for all values of all events, a parameter of the
        decoder's (σ-VAE, 2006.13202); `'predicted'` is one of each value, from the decoder's
        features. Both start near 1.

    Raises:
      ValueError: another word.
    """
    if scale == "learned":

        def learned(features: jax.Array) -> distributions.Normal:
            loc, log_scale = features[..., :-1], features[..., -1:]
            return distributions.Normal(loc, jnp.broadcast_to(_scale(log_scale), loc.shape))

        return Likelihood(lambda channels: channels, learned, constants=1)
    if scale == "predicted":

        def predicted(features: jax.Array) -> distributions.Normal:
            loc, log_scale = jnp.split(features, 2, axis=-1)
            return distributions.Normal(loc, _scale(log_scale))

        return Likelihood(lambda channels: 2 * channels, predicted)
    if isinstance(scale, str):
        raise ValueError(
            f"the scale of a normal likelihood is a number, or {near_names(scale, _SCALES)}"
        )

    def fixed(features: jax.Array) -> distributions.Normal:
        return distributions.Normal(features, jnp.full_like(features, scale))

    return Likelihood(lambda channels: channels, fixed)


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


def negative_binomial() -> Likelihood:
    """For counts, as float32: the log-mean and the log-concentration of each value predicted."""

    def apply(features: jax.Array) -> NegativeBinomial:
        log_mean, log_concentration = jnp.split(features, 2, axis=-1)
        # Beyond e⁸ it is Poisson's law, and the log-gamma functions would only lose digits.
        log_concentration = jnp.clip(log_concentration, -8.0, 8.0)
        return NegativeBinomial(jnp.clip(log_mean, -20.0, 20.0), log_concentration)

    return Likelihood(lambda channels: 2 * channels, apply)


def categorical(classes: int) -> Likelihood:
    """For tokens, int32 from 0 on: a logit of each class at each place.

    Args:
      classes: how many.
    """
    return Likelihood(lambda channels: classes, distributions.Categorical)


LIKELIHOODS: dict[str, Callable[..., Likelihood]] = {
    "bernoulli": bernoulli,
    "categorical": categorical,
    "normal": normal,
    "discretized_logistic": discretized_logistic,
    "discretized_logistic_mixture": discretized_logistic_mixture,
    "negative_binomial": negative_binomial,
}


def likelihood(setting: str | Mapping[str, Any] | Likelihood, tokens: int = 0) -> Likelihood:
    """A likelihood from its name, from `{"kind": name, **arguments}`, or given as it is.

    Args:
      setting: one of these.
      tokens: classes of tokens in the data, 0 if unknown; the classes of a categorical likelihood
        that does not say how many.

    Raises:
      ValueError: the kind is unknown, its arguments do not fit, or it has fewer classes than the
        data.
    """
    if isinstance(setting, Likelihood):
        return setting
    settings: dict[str, Any] = {"kind": setting} if isinstance(setting, str) else dict(setting)
    if settings.get("kind") == "categorical" and tokens:
        settings = {"classes": tokens, **settings}
        if settings["classes"] < tokens:
            raise ValueError(
                f"a categorical likelihood of {settings['classes']} classes cannot explain data of "
                f"{tokens}; leave 'classes' out and it has as many as the data"
            )
        setting = settings
    return make(LIKELIHOODS, setting, "likelihood")
