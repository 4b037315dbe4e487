"""Quantizers: bottlenecks that turn features into codes."""

import chex
import jax

from vaejax.bottlenecks import Bottleneck
from vaejax.distributions import Codes, Uniform
from vaejax.game import Latent, Params
from vaejax.nearest import kmeans, nearest


def vector(
    codes: int = 512, dim: int = 64, *, group: str = "codebook", kmeans_iterations: int = 10
) -> Bottleneck:
    """Vector quantisation (VQ-VAE, 1711.00937, eq. 1–2): each token becomes its nearest code.

    The gradient of z passes straight through to the features; the gradient of the codes in the
    trace reaches the codebook. Who follows which is the players' affair. The codebook starts at
    the k-means centres of the first batch's features. Computes in float32.

    Args:
      codes: entries K of the codebook.
      dim: dimensions D of a code.
      group: name of the codebook's parameter group.
      kmeans_iterations: of the initialisation.
    """

    def init(key: jax.Array, features: jax.Array) -> Params:
        return {group: kmeans(key, features.reshape(-1, dim), codes, kmeans_iterations)}

    def apply(params: Params, features: jax.Array, key: jax.Array) -> Latent:
        del key
        chex.assert_axis_dimension(features, -1, dim)
        codebook = params[group]  # [K, D]
        indices = nearest(features.reshape(-1, dim), codebook).reshape(features.shape[:-1])
        posterior = Codes(features, codebook[indices], indices, codes)
        z = features + jax.lax.stop_gradient(posterior.codes - features)
        return Latent(posterior, Uniform(codes, indices.shape), z)

    def draw(
        params: Params, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        del temperature  # a uniform distribution has none
        return params[group][Uniform(codes, shape[:-1]).sample(key)]

    def embed(params: Params, indices: jax.Array) -> jax.Array:
        return params[group][indices]

    return Bottleneck(dim, init, apply, draw, embed=embed)
