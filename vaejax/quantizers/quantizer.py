"""The interface of quantizers, their use as bottlenecks, and gradient estimators."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.game import Latent, Params
from vaejax.core.types import PyTree
from vaejax.distributions import Distribution, Uniform

__all__ = [
    "ESTIMATORS",
    "QuantizedBottleneck",
    "Quantizer",
    "bottleneck",
    "normalize",
    "only_existing",
    "rotation",
    "straight_through",
]


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
        where quantize dropped a level; one outside of the codebook gives NaN.
      training_variant: step -> the quantizer in training, where it drops or relaxes something; else
        None.
      stochastic: whether codes are sampled, from a `Categorical` posterior.
    """

    dim: int
    z_dim: int
    size: int
    shape: tuple[int, ...]
    has_params: bool
    init: Callable[[jax.Array, jax.Array], PyTree]
    quantize: Callable[[PyTree, jax.Array, jax.Array | None], tuple[Distribution, jax.Array]]
    embed: Callable[[PyTree, jax.Array], jax.Array]
    training_variant: "Callable[[jax.Array], Quantizer] | None" = None
    stochastic: bool = False


@dataclasses.dataclass(frozen=True)
class QuantizedBottleneck:
    """The functions of the bottleneck that `bottleneck` returns.

    Attributes:
      quantizer: of the tokens.
      width: W, features of the encoder and the decoder.
      group: name of the quantizer's parameter group.
      projection: name of the linear maps' parameter group.
    """

    quantizer: Quantizer
    width: int
    group: str
    projection: str

    @property
    def projects(self) -> bool:
        """Whether linear maps lead to the quantizer's dimensions and back."""
        return self.width != self.quantizer.dim

    def init(self, key: jax.Array, features: jax.Array) -> Params:
        """Parameters of the linear maps and of the quantizer."""
        tokens, dim = self.tokens_of(features), self.quantizer.dim
        params: Params = {}
        into_key, back_key, key = jax.random.split(key, 3)
        if self.projects:
            shapes = (self.width, dim), (self.quantizer.z_dim, self.width)
            params[self.projection] = {
                "into": jax.random.normal(into_key, shapes[0]) / math.sqrt(self.width),
                "back": jax.random.normal(back_key, shapes[1]) / math.sqrt(dim),
            }
            tokens = self.linear(params, "into", tokens)
        if self.quantizer.has_params:
            params[self.group] = self.quantizer.init(key, tokens)
        return params

    def tokens_of(self, features: jax.Array) -> jax.Array:
        """Features `[B, ..., W]` as tokens `[B, T, W]`."""
        chex.assert_axis_dimension(features, -1, self.width)
        return features.reshape(features.shape[0], -1, self.width)

    def linear(self, params: Params, name: str, x: jax.Array) -> jax.Array:
        """The linear map `into` or `back`; x itself where none is needed."""
        return x @ params[self.projection][name] if self.projects else x

    def embed(self, params: Params, indices: jax.Array) -> jax.Array:
        """z of the codes."""
        return self.linear(params, "back", self.quantizer.embed(params.get(self.group), indices))

    def apply(self, params: Params, features: jax.Array, key: jax.Array | None) -> Latent:
        """The node at every position of the features `[B, ..., W]`."""
        tokens, lead = self.linear(params, "into", self.tokens_of(features)), features.shape[:-1]
        posterior, z = self.quantizer.quantize(params.get(self.group), tokens, key)
        z = self.linear(params, "back", z)
        posterior = jax.tree.map(lambda a: a.reshape(*lead, *a.shape[2:]), posterior)
        prior = Uniform(self.quantizer.size, (*lead, *self.quantizer.shape))
        return Latent(posterior, prior, z.reshape(*lead, z.shape[-1]))

    def sample_prior(
        self, params: Params, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        """z at codes sampled uniformly."""
        del temperature  # a tempered uniform distribution is the same
        indices = Uniform(self.quantizer.size, (*shape[:-1], *self.quantizer.shape)).sample(key)
        return self.embed(params, indices)

    def training_variant(self, step: jax.Array) -> Bottleneck:
        """The bottleneck with the quantizer's training variant."""
        assert self.quantizer.training_variant is not None
        variant = dataclasses.replace(self, quantizer=self.quantizer.training_variant(step))
        return Bottleneck(self.width, self.init, variant.apply, self.sample_prior)


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
    width = quantizer.dim if width is None else width
    b = QuantizedBottleneck(quantizer, width, group, projection)
    training_variant = b.training_variant if quantizer.training_variant else None
    return Bottleneck(b.width, b.init, b.apply, b.sample_prior, training_variant, b.embed)


def only_existing(z: jax.Array, indices: jax.Array, size: int) -> jax.Array:
    """z `[..., D]` of the codes at indices `[...]`: zeros at −1, no code; NaN where there is none.

    A compiled program cannot raise; a code outside of the codebook must not pass for another one.
    """
    exists = (indices >= 0) & (indices < size)
    return jnp.where(exists[..., None], z, jnp.where(indices == -1, 0.0, jnp.nan)[..., None])


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
