"""Quantizers with a codebook: each token becomes its nearest code."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.registry import near_names
from vaejax.distributions import Codes
from vaejax.quantizers.nearest_neighbors import kmeans, nearest
from vaejax.quantizers.quantizer import ESTIMATORS, Quantizer, unit
from vaejax.quantizers.segment_sums import codes_at

_DISTANCES = ("euclidean", "cosine")
_STARTS = ("kmeans", "uniform", "normal")


def _flat(tokens: jax.Array) -> jax.Array:
    return tokens.reshape(-1, tokens.shape[-1])


def _looked_up(codebook: jax.Array, indices: jax.Array) -> jax.Array:
    """`codebook[indices]`, with zeros where an index is −1."""
    codes = codes_at(codebook, jnp.maximum(indices, 0))
    return jnp.where((indices >= 0)[..., None], codes, 0.0)


def vector(
    codes: int = 512,
    dim: int = 64,
    *,
    distance: str = "euclidean",
    gradient: str = "straight_through",
    start: str = "kmeans",
    kmeans_iterations: int = 10,
) -> Quantizer:
    """Vector quantisation (VQ-VAE, 1711.00937, eq. 1–2): each token becomes its nearest code.

    The gradient of the codes in the posterior reaches the codebook, that of z the tokens. Who
    follows which is the players' affair. Parameters: the codebook, `[codes, dim]`.

    Args:
      codes: entries K of the codebook.
      dim: dimensions D of a code.
      distance: `'euclidean'`, or `'cosine'`: tokens and codes are both brought to unit length, and
        z has unit length (ViT-VQGAN, 2110.04627, section 3.2).
      gradient: of z, which passes to the tokens `'straight_through'` or by `'rotation'`.
      start: the codebook begins at the `'kmeans'` centres of the first batch's tokens, as
        `'uniform'` in ±1/K (the authors' code), or as `'normal'` of variance 1/D.
      kmeans_iterations: of the former.

    Raises:
      ValueError: an unknown distance, gradient or start.
    """
    for what, name, known in (
        ("distance", distance, _DISTANCES),
        ("gradient", gradient, tuple(ESTIMATORS)),
        ("start", start, _STARTS),
    ):
        if name not in known:
            raise ValueError(f"unknown {what} of a vector quantizer {near_names(name, known)}")
    place = unit if distance == "cosine" else (lambda x: x)
    estimator = ESTIMATORS[gradient]

    def init(key: jax.Array, tokens: jax.Array) -> jax.Array:
        if start == "kmeans":
            return kmeans(key, place(_flat(tokens)), codes, kmeans_iterations)
        if start == "uniform":
            return jax.random.uniform(key, (codes, dim), minval=-1.0 / codes, maxval=1.0 / codes)
        return jax.random.normal(key, (codes, dim)) / math.sqrt(dim)

    def quantize(
        codebook: Any, tokens: jax.Array, key: jax.Array | None
    ) -> tuple[Codes, jax.Array]:
        del key
        codebook, tokens = place(codebook), place(tokens)
        indices = nearest(_flat(tokens), codebook).reshape(tokens.shape[:-1])
        posterior = Codes(tokens, codes_at(codebook, indices), indices, codes)
        return posterior, estimator(tokens, posterior.codes)

    def embed(codebook: Any, indices: jax.Array) -> jax.Array:
        return _looked_up(place(codebook), indices)

    return Quantizer(dim, dim, codes, (), True, init, quantize, embed)


def sim_vq(codes: int = 512, dim: int = 64, *, gradient: str = "straight_through") -> Quantizer:
    """SimVQ (2411.02038, section 3): random codes that stand still, in a basis that learns.

    The codebook is C W. A gradient that reaches one code moves W and so all of them, hence none
    is left behind. Parameters: `codes` C `[codes, dim]`, whose gradient is zero, and `basis` W
    `[dim, dim]`, to be moved by their player's optimizer, without weight decay.

    Args:
      codes: K.
      dim: D.
      gradient: see `vector`.
    """
    if gradient not in ESTIMATORS:
        raise ValueError(f"unknown gradient of sim_vq {near_names(gradient, ESTIMATORS)}")

    def init(key: jax.Array, tokens: jax.Array) -> dict[str, jax.Array]:
        """Codes of the tokens' mean size, in the standard basis."""
        flat = _flat(tokens)
        size = jnp.sqrt(jnp.mean(jnp.square(flat)))
        return {
            "codes": size * jax.random.normal(key, (codes, dim)),
            "basis": jnp.eye(dim),
        }

    def codebook_of(params: Any) -> jax.Array:
        return jax.lax.stop_gradient(params["codes"]) @ params["basis"]

    def quantize(params: Any, tokens: jax.Array, key: jax.Array | None) -> tuple[Codes, jax.Array]:
        del key
        codebook = codebook_of(params)
        indices = nearest(_flat(tokens), codebook).reshape(tokens.shape[:-1])
        posterior = Codes(tokens, codes_at(codebook, indices), indices, codes)
        return posterior, ESTIMATORS[gradient](tokens, posterior.codes)

    def embed(params: Any, indices: jax.Array) -> jax.Array:
        return _looked_up(codebook_of(params), indices)

    return Quantizer(dim, dim, codes, (), True, init, quantize, embed)
