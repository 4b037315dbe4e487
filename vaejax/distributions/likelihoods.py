"""The table of likelihoods: the number of decoder channels they need, and p(x | z) from these."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.core.distribution import Distribution
from vaejax.core.registry import make, table
from vaejax.core.types import Options
from vaejax.distributions import mixed as mixed_columns
from vaejax.distributions.discretized_likelihoods import (
    discretized_laplace,
    discretized_logistic,
    discretized_logistic_mixture,
)
from vaejax.distributions.likelihood import Likelihood
from vaejax.distributions.location_scale import MIN_LOG_SCALE, laplace, normal, scale_feature
from vaejax.distributions.negative_binomial import NegativeBinomial

__all__ = [
    "LIKELIHOODS",
    "MIN_LOG_SCALE",
    "Likelihood",
    "bernoulli",
    "categorical",
    "discretized_laplace",
    "discretized_logistic",
    "discretized_logistic_mixture",
    "laplace",
    "likelihood",
    "mixed",
    "negative_binomial",
    "normal",
    "scale_feature",
]


def bernoulli() -> Likelihood:
    """For binary data; on grey levels it is a cross-entropy, not a normalised density."""
    return Likelihood(lambda channels: channels, distributions.Bernoulli)


def negative_binomial() -> Likelihood:
    """For counts, as float32: log-mean and log-concentration of each element predicted.

    Encoders read log(1 + x), as in scVI (1709.02082).
    """

    def apply(features: jax.Array) -> NegativeBinomial:
        log_mean, log_concentration = jnp.split(features, 2, axis=-1)
        # At e⁴⁰ it is a Poisson distribution for all means up to e²⁵.
        log_concentration = jnp.clip(log_concentration, -8.0, 40.0)
        return NegativeBinomial(jnp.clip(log_mean, -20.0, 25.0), log_concentration)

    return Likelihood(lambda channels: 2 * channels, apply, encoder_input=jnp.log1p)


def categorical(classes: int) -> Likelihood:
    """For tokens, int32 in 0 … classes − 1: the logits of all classes at each position.

    Args:
      classes: number of classes.
    """
    return Likelihood(lambda channels: classes, distributions.Categorical)


def mixed(classes: Sequence[int] = (), scale: float | str = "learned") -> Likelihood:
    """For tables of numbers and categories: each column has its own likelihood.

    Numbers have a Gaussian, categories a categorical distribution (two classes a Bernoulli one).
    Encoders read categories as one-hot values.

    Args:
      classes: number of classes of each column, 0 for numbers; `()` for those of the data. In a
        config they are always those of the data.
      scale: of the Gaussians: `'learned'`, one σ for each column, in the units of standardised
        columns; `'predicted'`, one for each element; or a number. Bounded as those of `normal`.

    Raises:
      ValueError: any other scale; events with another number of columns.
    """
    counts = tuple(int(n) for n in classes)
    numbers = counts.count(0)
    per_number = 2 if scale in ("predicted", "learned") else 1
    density = normal("predicted" if scale == "learned" else scale).apply

    def width(channels: int) -> int:
        if channels != len(counts):
            raise ValueError(
                f"the likelihood 'mixed' has {len(counts)} columns, but the data have {channels}; "
                "it is for tables, whose columns it takes from the data"
            )
        return mixed_columns.num_features(counts, per_number) - constants

    def apply(features: jax.Array) -> Distribution:
        if constants:  # from the end to where `predicted` has them
            rest, log_scale = features[..., :-constants], features[..., -constants:]
            parts = [rest[..., :numbers], log_scale, rest[..., numbers:]]
            features = jnp.concatenate(parts, axis=-1)
        return mixed_columns.from_features(features, counts, per_number, density)

    constants = numbers if scale == "learned" else 0
    read, mask = mixed_columns.one_hot(counts), mixed_columns.one_hot_mask(counts)
    return Likelihood(width, apply, constants, read, mask)


LIKELIHOODS: Mapping[str, Callable[..., Likelihood]] = table(
    "likelihood",
    {
        "bernoulli": bernoulli,
        "categorical": categorical,
        "mixed": mixed,
        "laplace": laplace,
        "normal": normal,
        "discretized_laplace": discretized_laplace,
        "discretized_logistic": discretized_logistic,
        "discretized_logistic_mixture": discretized_logistic_mixture,
        "negative_binomial": negative_binomial,
    },
)


def likelihood(setting: str | Options | Likelihood, tokens: int = 0) -> Likelihood:
    """A likelihood from its name or from `{"kind": name, **arguments}`.

    Args:
      setting: one of these, or a `Likelihood`, which is returned unchanged.
      tokens: number of classes of tokens in the data, 0 if unknown; the default number of classes
        of a categorical likelihood.

    Raises:
      ValueError: the kind is unknown, its arguments do not fit, or it has fewer classes than the
        data.
    """
    if isinstance(setting, Likelihood):
        return setting
    settings: Options = {"kind": setting} if isinstance(setting, str) else dict(setting)
    if settings.get("kind") == "categorical" and tokens:
        settings = {"classes": tokens, **settings}
        if settings["classes"] < tokens:
            raise ValueError(
                f"a categorical likelihood of {settings['classes']} classes cannot explain data of "
                f"{tokens}; leave out 'classes' to use the number of the data"
            )
        setting = settings
    return make(LIKELIHOODS, setting, "likelihood")
