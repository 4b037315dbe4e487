"""Likelihoods of a location and a scale that is fixed, learned or predicted."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.core.distribution import Distribution
from vaejax.core.registry import near_names
from vaejax.distributions.bounds import soft_bound
from vaejax.distributions.laplace import Laplace
from vaejax.distributions.likelihood import Likelihood

__all__ = ["MIN_LOG_SCALE", "laplace", "normal", "scale_feature"]

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
