"""The perceptual distance of a reconstruction: differences of the features of a fixed network."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Trace
from vaejax.distributions import WithMissing
from vaejax.losses.base import stateless

__all__ = ["FeatureMaps", "perceptual", "perceptual_distance"]

# Images `[B, H, W, C]` in [0, 1] -> feature maps `[B, h, w, F]` of some layers.
FeatureMaps = Callable[[jax.Array], tuple[jax.Array, ...]]

_TINY = 1e-10


def perceptual_distance(
    features: FeatureMaps,
    x: jax.Array,
    y: jax.Array,
    heads: Sequence[jax.Array] | None = None,
) -> jax.Array:
    """The distance of LPIPS (1801.03924, eq. 1) between images `[B, H, W, C]`: `[B]`.

    d = Σ_l mean_{h,w} Σ_f w_lf (ŷ_lf − ŷ'_lf)², where ŷ_l are the features of layer l, divided by
    their norm at each position.

    Args:
      features: the layers.
      x: images in [0, 1].
      y: the same.
      heads: w_l `[F]` of each layer; None for ones.
    """

    def unit(a: jax.Array) -> jax.Array:
        norm = jnp.sqrt(jnp.sum(jnp.square(a), axis=-1, keepdims=True) + _TINY**2)
        return a / (norm + _TINY)

    maps = zip(features(x), features(y), strict=True)
    squares = [jnp.square(unit(a) - unit(b)) for a, b in maps]
    weights = heads or [jnp.ones(a.shape[-1], a.dtype) for a in squares]
    layers = [(a @ w).reshape(a.shape[0], -1).mean(axis=1)
              for a, w in zip(squares, weights, strict=True)]  # fmt: skip
    return jnp.stack(layers).sum(axis=0)


def perceptual(features: FeatureMaps, heads: Sequence[jax.Array] | None = None) -> LossTransform:
    """`perceptual` `[B]`: D · `perceptual_distance` of the event and the mean of p(x | z).

    D is the number of elements of an event, over which nll is a sum too: with a Laplace likelihood
    of scale 1 a weight of 1 is that of VQGAN and of latent diffusion, whose code adds the distance
    to the absolute error of every element (2012.09841, 2112.10752).

    Args:
      features: of a network that is not trained, such as a classifier's.
      heads: see `perceptual_distance`.

    Raises:
      ValueError: of events that are partly missing.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        if isinstance(trace.likelihood, WithMissing):
            raise ValueError(
                "the perceptual loss compares whole images, so it cannot honour a mask: use data "
                "without missing values, or leave model.perceptual out"
            )
        distance = perceptual_distance(features, trace.x, trace.likelihood.mean, heads)
        return {"perceptual": math.prod(trace.x.shape[1:]) * distance}

    return stateless(apply)
