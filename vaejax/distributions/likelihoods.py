"""Likelihoods: the number of decoder channels they need, and p(x | z) from these features."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.core.distribution import Distribution
from vaejax.core.registry import make, near_names, table
from vaejax.core.types import Options
from vaejax.distributions import mixed as mixed_columns
from vaejax.distributions.bounds import soft_bound
from vaejax.distributions.laplace import DiscretizedLaplace, Laplace
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


class Likelihood(NamedTuple):
    """A likelihood of events whose last axis has C channels.

    Attributes:
      width: C -> number of channels of the decoder's output.
      apply: features `[..., width(C) + constants]` -> a distribution over `[..., C]`.
      constants: number of learned scalars appended to the decoder's channels, the same at every
        position of every event.
      encoder_input: events -> what an encoder reads in their place, where events can be far from
        unit scale; None for the events themselves.
      encoder_mask: mask of an event -> that of what an encoder reads in its place, where these have
        other shapes; zeros are read where it is false. None for the mask itself.
    """

    width: Callable[[int], int]
    apply: Callable[[jax.Array], Distribution]
    constants: int = 0
    encoder_input: Callable[[jax.Array], jax.Array] | None = None
    encoder_mask: Callable[[jax.Array], jax.Array] | None = None


def bernoulli() -> Likelihood:
    """For binary data; on grey levels it is a cross-entropy, not a normalised density."""
    return Likelihood(lambda channels: channels, distributions.Bernoulli)


_SCALES = ("learned", "predicted")
_LOG_SCALE_RANGE = (-80.0, 40.0)
MIN_LOG_SCALE = -6.0  # e⁻⁶ is a little over half of one of 255 grey levels


def _scale(log_scale: jax.Array) -> jax.Array:
    """exp of the log-scale softly bounded from below by `MIN_LOG_SCALE`, as in σ-VAE's code.

    The bound from above is far beyond any deviation of data that float32 can square.
    """
    log_scale = soft_bound(log_scale, *_LOG_SCALE_RANGE, margin=2.0)
    return jnp.exp(MIN_LOG_SCALE + jax.nn.softplus(log_scale - MIN_LOG_SCALE))


def scale_feature(scale: jax.Array) -> jax.Array:
    """The feature from which `normal('predicted')` makes this standard deviation."""
    above = jnp.log(scale) - MIN_LOG_SCALE
    return MIN_LOG_SCALE + above + jnp.log(-jnp.expm1(-above))


def _location_scale(
    name: str, density: Callable[[jax.Array, jax.Array], Distribution], scale: float | str
) -> Likelihood:
    """The likelihood of a density of location and scale, see `normal`."""
    if scale == "learned":

        def learned(features: jax.Array) -> Distribution:
            loc, log_scale = features[..., :-1], features[..., -1:]
            return density(loc, jnp.broadcast_to(_scale(log_scale), loc.shape))

        return Likelihood(lambda channels: channels, learned, constants=1)
    if scale == "predicted":

        def predicted(features: jax.Array) -> Distribution:
            loc, log_scale = jnp.split(features, 2, axis=-1)
            return density(loc, _scale(log_scale))

        return Likelihood(lambda channels: 2 * channels, predicted)
    if isinstance(scale, str):
        raise ValueError(
            f"the scale of a {name} likelihood is a number, or {near_names(scale, _SCALES)}"
        )

    def fixed(features: jax.Array) -> Distribution:
        return density(features, jnp.full_like(features, scale))

    return Likelihood(lambda channels: channels, fixed)


def normal(scale: float | str = 1.0) -> Likelihood:
    """A Gaussian.

    Args:
      scale: its standard deviation σ. A number is fixed: nll is squared error / 2σ² plus a
        constant. `'learned'` is one learned σ for all elements of all events, a parameter of the
        decoder (σ-VAE, 2006.13202); `'predicted'` is one σ for each element, from the decoder's
        features. Both start near 1.

    Raises:
      ValueError: any other string.
    """
    return _location_scale("normal", distributions.Normal, scale)


def laplace(scale: float | str = 1.0) -> Likelihood:
    """A Laplace density: nll is absolute error / b plus a constant, the L1 loss of 2112.10752.

    Args:
      scale: its scale b, as σ of `normal`.

    Raises:
      ValueError: a string that is neither `'learned'` nor `'predicted'`.
    """
    return _location_scale("laplace", Laplace, scale)


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
