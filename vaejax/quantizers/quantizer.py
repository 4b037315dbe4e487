"""What a quantizer is, and how it stands between encoder and decoder."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.game import Latent, Params
from vaejax.distributions import Uniform


class Quantizer(NamedTuple):
    """Tokens -> codes: pure functions of its own parameters, one tree of arrays.

    Attributes:
      dim: of the tokens that it takes.
      z_dim: of z, which most have in common with the tokens.
      size: how many codes each index chooses from.
      shape: axes of the indices of one token: `()` for one index, `(Q,)` for Q levels or groups.
      learns: whether it has parameters.
      init: `(key, tokens [B, T, dim]) -> params`; may look at the tokens.
      quantize: `(params, tokens [B, T, dim], key) -> (posterior, z)`. The posterior is `Codes` with
        indices `[B, T, *shape]` or, where the choice is random, a `Categorical`; z `[B, T, z_dim]`
        is what the decoder sees, and knows how its gradient passes to the tokens. Without a key,
        None, a random choice is the likeliest.
      embed: `(params, indices [..., *shape]) -> z [..., z_dim]`. Where quantize dropped a level its
        index is −1, which stands for no code.
      at: step -> the quantizer in training, where it drops or relaxes something; else None.
      random: whether the choice is random, and so the posterior a `Categorical`.
    """

    dim: int
    z_dim: int
    size: int
    shape: tuple[int, ...]
    learns: bool
    init: Callable[[jax.Array, jax.Array], Any]
    quantize: Callable[[Any, jax.Array, jax.Array | None], tuple[Any, jax.Array]]
    embed: Callable[[Any, jax.Array], jax.Array]
    at: "Callable[[jax.Array], Quantizer] | None" = None
    random: bool = False


def bottleneck(
    quantizer: Quantizer,
    *,
    width: int | None = None,
    group: str = "codebook",
    projection: str = "projection",
) -> Bottleneck:
    """A quantizer of each place of a feature map, under a uniform prior. Computes in float32.

    Args:
      quantizer: of the tokens.
      width: features of the encoder and the decoder; None for the quantizer's own. If it is
        another, tokens are projected to the quantizer's dimensions and z back by learned linear
        maps (ViT-VQGAN, 2110.04627, section 3.2).
      group: name of the quantizer's parameter group, if it learns anything.
      projection: name of the linear maps' parameter group, if there are any.
    """
    projects = width is not None and width != quantizer.dim
    outer, dim = (width if width is not None else quantizer.dim), quantizer.dim
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
        if quantizer.learns:
            params[group] = quantizer.init(key, tokens)
        return params

    def embed(params: Params, indices: jax.Array) -> jax.Array:
        z = quantizer.embed(params.get(group), indices)
        return linear(params, "back", z) if projects else z

    def with_(now: Quantizer) -> Callable[[Params, jax.Array, jax.Array | None], Latent]:
        def apply(params: Params, features: jax.Array, key: jax.Array | None) -> Latent:
            tokens, lead = tokens_of(features), features.shape[:-1]
            if projects:
                tokens = linear(params, "into", tokens)
            posterior, z = now.quantize(params.get(group), tokens, key)
            if projects:
                z = linear(params, "back", z)
            posterior = jax.tree.map(lambda a: a.reshape(*lead, *a.shape[2:]), posterior)
            prior = Uniform(quantizer.size, (*lead, *quantizer.shape))
            return Latent(posterior, prior, z.reshape(*lead, z_dim))

        return apply

    def draw(
        params: Params, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        del temperature  # a uniform distribution has none
        indices = Uniform(quantizer.size, (*shape[:-1], *quantizer.shape)).sample(key)
        return embed(params, indices)

    def at(step: jax.Array) -> Bottleneck:
        assert quantizer.at is not None
        return Bottleneck(outer, init, with_(quantizer.at(step)), draw)

    training = at if quantizer.at else None
    return Bottleneck(outer, init, with_(quantizer), draw, training, embed)


def unit(x: jax.Array) -> jax.Array:
    """x on the unit sphere, by its last axis."""
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))


def straight_through(tokens: jax.Array, codes: jax.Array) -> jax.Array:
    """The codes, with the gradient that passes through them as if they were the tokens."""
    return tokens + jax.lax.stop_gradient(codes - tokens)


def rotation(tokens: jax.Array, codes: jax.Array) -> jax.Array:
    """The codes, as rotated and rescaled tokens: sg[(‖e‖/‖x‖) R] x, with R x in the direction of e.

    The rotation trick (2410.06424, section 4.2). The gradient is turned with the token, so that its
    angle to the code becomes its angle to the token. R = I − 2rrᵀ + 2êx̂ᵀ with r the direction
    halfway between the two, so no matrix is made. A token of length zero has no direction: its
    gradient passes straight through.

    Args:
      tokens: x, `[..., D]`.
      codes: e, `[..., D]`; no gradient reaches them.
    """
    sg = jax.lax.stop_gradient
    x, e = sg(tokens), sg(codes)
    x_hat, e_hat = unit(x), unit(e)
    r = unit(x_hat + e_hat)

    def inner(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(a * b, axis=-1, keepdims=True)

    length = inner(x, x)
    ratio = jnp.sqrt(inner(e, e) / jnp.maximum(length, 1e-12))
    turned = tokens - 2.0 * r * inner(r, tokens) + 2.0 * e_hat * inner(x_hat, tokens)
    z = jnp.where(length > 1e-12, ratio * turned, tokens)
    return z + sg(e - z)  # the codes to the last digit


ESTIMATORS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "straight_through": straight_through,
    "rotation": rotation,
}
