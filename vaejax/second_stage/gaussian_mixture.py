"""A mixture of Gaussians with full covariances, of the latents of a trained model."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Mixture, MultivariateNormal, Point
from vaejax.quantizers.nearest_neighbors import kmeans, nearest


def _start(key: jax.Array, x: jax.Array, components: int, iterations: int) -> Params:
    """Means, covariances and shares of the k-means clusters of x `[N, D]`.

    The covariance of each is that of its examples and, as if they were D + 1 more, the average
    within all clusters; so that it has full rank however few they are.
    """
    n, dim = x.shape
    loc = kmeans(key, x, components, iterations)
    which = nearest(x, loc)
    gap = x - loc[which]
    outer = gap[:, :, None] * gap[:, None, :]  # [N, D, D]
    count = jax.ops.segment_sum(jnp.ones(n), which, components)
    within = outer.mean(axis=0) + 1e-6 * jnp.eye(dim)  # the average of the clusters' own
    prior = dim + 1.0
    total = jax.ops.segment_sum(outer, which, components) + prior * within[None]
    covariance = total / (count + prior)[:, None, None]
    lower = jnp.linalg.cholesky(covariance)
    eye = jnp.broadcast_to(jnp.eye(dim)[None], lower.shape)
    factor = jax.scipy.linalg.solve_triangular(lower, eye, lower=True)
    diagonal = jnp.diagonal(factor, axis1=-2, axis2=-1)
    return {
        "logits": jnp.log((count + 1.0) / (n + components)),
        "loc": loc,
        "log_diagonal": jnp.log(diagonal),
        "lower": jnp.tril(factor, -1),
    }


def full_mixture(
    dim: int, components: int, *, kmeans_iterations: int = 20, group: str = "prior"
) -> Model:
    """Parameter group `prior`: p(z) = Σ_k π_k N(z; μ_k, Σ_k), with no latents of its own.

    The ex-post density of 1903.12436 (section 4). It starts from the k-means clusters of the first
    batch, which should therefore hold many examples for each component.

    Args:
      dim: D of the vectors.
      components: K.
      kmeans_iterations: of the start.
      group: name of the parameter group.

    Raises:
      ValueError: no components.
    """
    if components < 1:
        raise ValueError(f"a mixture needs at least one component, found {components}")

    def density(params: Params, n: int) -> Mixture:
        p = params[group]
        factor = jnp.tril(p["lower"], -1) + jax.vmap(jnp.diag)(jnp.exp(p["log_diagonal"]))
        return Mixture(p["logits"], MultivariateNormal(p["loc"], factor), n)

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        chex.assert_shape(x, (None, dim))
        return {group: _start(key, jnp.asarray(x, jnp.float32), components, kmeans_iterations)}

    def decode(params: Params, zs: tuple[()], batch: Batch | None = None) -> Mixture:
        del zs
        return density(params, 1 if batch is None else len(event(batch)))

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        del key
        x = event(batch)
        chex.assert_shape(x, (None, dim))
        return Trace(x, density(params, len(x)), (), None, 0 if step is None else step)

    def encode(params: Params, batch: Batch, key: jax.Array) -> tuple[Latent, ...]:
        del params, batch, key
        return ()

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Mapping[str, jax.Array] | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Any:
        del condition
        return Point(density(params, n).sample(key, temperature))

    return Model(init, forward, encode, decode, generate)
