"""The interface of quantizers, their use as bottlenecks, and gradient estimators."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.game import Latent, Params
from vaejax.distributions import Uniform

__all__ = ["ESTIMATORS", "Quantizer", "bottleneck", "normalize", "rotation", "straight_through"]


class Quantizer(NamedTuple):
    """Tokens -> codes, as pure functions of one tree of parameters.

    Attributes:
      dim: dimensions of the tokens.
      z_dim: dimensions of z, usually those of the tokens.
      size: number of codes of each index.
      shape: axes of the indices of one token: `()` for one index, `(Q,)` for Q levels or groups.
      has_params: whether it has parameters.
      init: `(key, tokens [B, T, dim]) -> params`, possibly depending on the tokens.
      quantize: `(params, tokens [B, T, dim], key) -> (posterior, z)`. The posterior is
        `OneHotCodes` with indices `[B, T, *shape]` or, for stochastic quantizers, a `Categorical`.
        z `[B, T, z_dim]` is the decoder's input, whose gradient passes to the tokens. With the key
        None, stochastic quantizers take the most likely code.
      embed: `(params, indices [..., *shape]) -> z [..., z_dim]`. The index −1 stands for no code,
        where quantize dropped a level.
      training_variant: step -> the quantizer in training, where it drops or relaxes something; else
        None.
      stochastic: whether codes are sampled, from a `Categorical` posterior.
    """

    dim: int
    z_dim: int
    size: int
    shape: tuple[int, ...]
    has_params: bool
    init: Callable[[jax.Array, jax.Array], Any]
    quantize: Callable[[Any, jax.Array, jax.Array | None], tuple[Any, jax.Array]]
    embed: Callable[[Any, jax.Array], jax.Array]
    training_variant: "Callable[[jax.Array], Quantizer] | None" = None
    stochastic: bool = False


def bottleneck(
    quantizer: Quantizer,
    *,
    width: int | None = None,
    group: str = "codebook",
    projection: str = "projection",
) -> Bottleneck:
    """A bottleneck that quantises each position of a feature map, with a uniform prior, in float32.

    Args:
      quantizer: of the tokens.
      width: features of the encoder and the decoder; None for the quantizer's dimensions. If it
        differs from these, tokens are projected to the quantizer's dimensions and z back by learned
        linear maps (ViT-VQGAN, 2110.04627, section 3.2).
      group: name of the quantizer's parameter group, if it has parameters.
      projection: name of the linear maps' parameter group, if there are any.
    """
    projects = width is not None and width != quantizer.dim
    dim = quantizer.dim
    outer = dim if width is None else width
    z_dim = outer if projects else quantizer.z_dim

    def linear(params: Params, name: str, x: jax.Array) -> jax.Array:
        return x @ params[projection][name]

    def tokens_of(features: jax.Array) -> jax.Array:  # [B, ..., outer] -> [B, T, outer]
        chex.assert_axis_dimension(features, -1, outer)
        return features.reshape(features.shape[0], -1, outer)

    def init(key: jax.Array, features: jax.Array) -> Params:
        tokens, params = tokens_of(features), {}
        into_key, back_key, key = jax.random.split(key, 3)
        if projects:
            params[projection] = {
                "into": jax.random.normal(into_key, (outer, dim)) / math.sqrt(outer),
                "back": jax.random.normal(back_key, (quantizer.z_dim, outer)) / math.sqrt(dim),
            }
            tokens = linear(params, "into", tokens)
        if quantizer.has_params:
            params[group] = quantizer.init(key, tokens)
        return params

    def embed(params: Params, indices: jax.Array) -> jax.Array:
        z = quantizer.embed(params.get(group), indices)
        return linear(params, "back", z) if projects else z

    def apply_with(variant: Quantizer) -> Callable[[Params, jax.Array, jax.Array | None], Latent]:
        def apply(params: Params, features: jax.Array, key: jax.Array | None) -> Latent:
            tokens, lead = tokens_of(features), features.shape[:-1]
            if projects:
                tokens = linear(params, "into", tokens)
            posterior, z = variant.quantize(params.get(group), tokens, key)
            if projects:
                z = linear(params, "back", z)
            posterior = jax.tree.map(lambda a: a.reshape(*lead, *a.shape[2:]), posterior)
            prior = Uniform(quantizer.size, (*lead, *quantizer.shape))
            return Latent(posterior, prior, z.reshape(*lead, z_dim))

        return apply

    def sample_prior(
        params: Params, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        del temperature  # a tempered uniform distribution is the same
        indices = Uniform(quantizer.size, (*shape[:-1], *quantizer.shape)).sample(key)
        return embed(params, indices)

    def training_variant(step: jax.Array) -> Bottleneck:
        assert quantizer.training_variant is not None
        return Bottleneck(outer, init, apply_with(quantizer.training_variant(step)), sample_prior)

    return Bottleneck(
        outer,
        init,
        apply_with(quantizer),
        sample_prior,
        training_variant if quantizer.training_variant else None,
        embed,
    )


def normalize(x: jax.Array) -> jax.Array:
    """x normalised to unit length along its last axis."""
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))


def straight_through(tokens: jax.Array, codes: jax.Array) -> jax.Array:
    """The codes, with a gradient that passes to the tokens unchanged (1308.3432)."""
    return tokens + jax.lax.stop_gradient(codes - tokens)


def rotation(tokens: jax.Array, codes: jax.Array) -> jax.Array:
    """The codes, as rotated and rescaled tokens: sg[(‖e‖/‖x‖) R] x, with R x in the direction of e.

    The rotation trick (2410.06424, section 4.2). The gradient is rotated with the token, so that
    its angle to the code becomes its angle to the token. R = I − 2rrᵀ + 2êx̂ᵀ with r the direction
    halfway between the two, which needs no matrix. A token of length zero has no direction: its
    gradient is the straight-through one.

    Args:
      tokens: x, `[..., D]`.
      codes: e, `[..., D]`; no gradient reaches them.
    """
    sg = jax.lax.stop_gradient
    x, e = sg(tokens), sg(codes)
    x_hat, e_hat = normalize(x), normalize(e)
    r = normalize(x_hat + e_hat)

    def inner(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(a * b, axis=-1, keepdims=True)

    squared_length = inner(x, x)
    ratio = jnp.sqrt(inner(e, e) / jnp.maximum(squared_length, 1e-12))
    rotated = tokens - 2.0 * r * inner(r, tokens) + 2.0 * e_hat * inner(x_hat, tokens)
    z = jnp.where(squared_length > 1e-12, ratio * rotated, tokens)
    return z + sg(e - z)  # exactly the codes


ESTIMATORS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "straight_through": straight_through,
    "rotation": rotation,
}
