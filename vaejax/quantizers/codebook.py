"""Quantizers with a codebook: each token is replaced by its nearest code."""

import math

import jax
import jax.numpy as jnp

from vaejax.core.registry import near_names
from vaejax.core.types import PyTree
from vaejax.distributions import OneHotCodes
from vaejax.quantizers.nearest_neighbors import kmeans, nearest
from vaejax.quantizers.quantizer import ESTIMATORS, Quantizer, normalize, only_existing
from vaejax.quantizers.segment_sums import codes_at

__all__ = ["DISTANCES", "STARTS", "sim_vq", "vector"]

DISTANCES = ("euclidean", "cosine")
STARTS = ("kmeans", "uniform", "normal")


def _flatten(tokens: jax.Array) -> jax.Array:
    return tokens.reshape(-1, tokens.shape[-1])


def _lookup(codebook: jax.Array, indices: jax.Array) -> jax.Array:
    """`codebook[indices]`, with zeros where an index is −1, NaN where it is no code."""
    size = codebook.shape[0]
    return only_existing(codes_at(codebook, jnp.clip(indices, 0, size - 1)), indices, size)


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

    The gradient of the posterior's codes reaches the codebook, that of z reaches the tokens; the
    players' losses decide which is used. Parameters: the codebook, `[codes, dim]`.

    Args:
      codes: number K of codes.
      dim: dimensions D of a code.
      distance: `'euclidean'`, or `'cosine'`: tokens and codes are both normalised to unit length,
        and so is z (ViT-VQGAN, 2110.04627, section 3.2).
      gradient: how the gradient of z passes to the tokens, `'straight_through'` or `'rotation'`.
      start: initial codebook: the `'kmeans'` centres of the first batch's tokens, `'uniform'` in
        ±1/K (the authors' code), or `'normal'` of variance 1/D.
      kmeans_iterations: number of iterations of k-means.

    Raises:
      ValueError: an unknown distance, gradient or start.
    """
    for option, value, choices in (
        ("distance", distance, DISTANCES),
        ("gradient", gradient, tuple(ESTIMATORS)),
        ("start", start, STARTS),
    ):
        if value not in choices:
            raise ValueError(f"unknown {option} of a vector quantizer {near_names(value, choices)}")
    project = normalize if distance == "cosine" else (lambda x: x)
    estimator = ESTIMATORS[gradient]

    def init(key: jax.Array, tokens: jax.Array) -> jax.Array:
        if start == "kmeans":
            return kmeans(key, project(_flatten(tokens)), codes, kmeans_iterations)
        if start == "uniform":
            return jax.random.uniform(key, (codes, dim), minval=-1.0 / codes, maxval=1.0 / codes)
        return jax.random.normal(key, (codes, dim)) / math.sqrt(dim)

    def quantize(
        codebook: jax.Array, tokens: jax.Array, key: jax.Array | None
    ) -> tuple[OneHotCodes, jax.Array]:
        del key
        codebook, tokens = project(codebook), project(tokens)
        indices = nearest(_flatten(tokens), codebook).reshape(tokens.shape[:-1])
        posterior = OneHotCodes(tokens, codes_at(codebook, indices), indices, codes)
        return posterior, estimator(tokens, posterior.codes)

    def embed(codebook: jax.Array, indices: jax.Array) -> jax.Array:
        return _lookup(project(codebook), indices)

    return Quantizer(dim, dim, codes, (), True, init, quantize, embed)


def sim_vq(codes: int = 512, dim: int = 64, *, gradient: str = "straight_through") -> Quantizer:
    """SimVQ (2411.02038, section 3): fixed random codes in a learned basis.

    The codebook is C W. The gradient of one code moves W and so all codes, which avoids unused
    codes. Parameters: `codes` C `[codes, dim]`, whose gradient is zero, and `basis` W `[dim, dim]`;
    their player's optimizer must have no weight decay.

    Args:
      codes: number K of codes.
      dim: dimensions D of a code.
      gradient: see `vector`.
    """
    if gradient not in ESTIMATORS:
        raise ValueError(f"unknown gradient of sim_vq {near_names(gradient, ESTIMATORS)}")

    def init(key: jax.Array, tokens: jax.Array) -> dict[str, jax.Array]:
        """Codes of a Gaussian with the tokens' mean and covariance, and the identity as basis.

        Tokens may lie near a subspace, away from zero: of codes spread evenly in all directions
        one would be the nearest of all tokens, and both would shrink to a point.
        """
        flat = _flatten(tokens)
        mean = flat.mean(axis=0)
        centred = flat - mean[None]
        variances, directions = jnp.linalg.eigh(centred.T @ centred / len(flat))
        # Codes differ even where all tokens are equal.
        variances = jnp.maximum(variances, 0) + 1e-4 * jnp.square(flat).mean() + 1e-8
        noise = jax.random.normal(key, (codes, dim)) * jnp.sqrt(variances)[None]
        return {"codes": mean[None] + noise @ directions.T, "basis": jnp.eye(dim)}

    def codebook_of(params: PyTree) -> jax.Array:
        codebook: jax.Array = jax.lax.stop_gradient(params["codes"]) @ params["basis"]
        return codebook

    def quantize(
        params: PyTree, tokens: jax.Array, key: jax.Array | None
    ) -> tuple[OneHotCodes, jax.Array]:
        del key
        codebook = codebook_of(params)
        indices = nearest(_flatten(tokens), codebook).reshape(tokens.shape[:-1])
        posterior = OneHotCodes(tokens, codes_at(codebook, indices), indices, codes)
        return posterior, ESTIMATORS[gradient](tokens, posterior.codes)

    def embed(params: PyTree, indices: jax.Array) -> jax.Array:
        return _lookup(codebook_of(params), indices)

    return Quantizer(dim, dim, codes, (), True, init, quantize, embed)
