"""A mixture of Gaussians with full covariances over the latent vectors of a trained model."""

import chex
import jax
import jax.numpy as jnp

from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Delta, Mixture, MultivariateNormal
from vaejax.models.shared import generate_with, make_trace
from vaejax.quantizers.nearest_neighbors import kmeans, nearest

__all__ = ["gaussian_mixture"]


def _init_from_clusters(key: jax.Array, x: jax.Array, components: int, iterations: int) -> Params:
    """Means, covariances and weights of the k-means clusters of x `[N, D]`.

    Each covariance is that of the cluster's examples and of D + 1 pseudo-examples with the average
    covariance within all clusters; so it has full rank even for clusters of few examples. To that
    average one pseudo-example adds the covariance of all x: with no more examples than components
    nothing varies within clusters. D pseudo-examples add its variances without correlations: fewer
    than D examples do not vary in some directions.
    """
    n, dim = x.shape
    loc = kmeans(key, x, components, iterations)
    which = nearest(x, loc)
    difference = x - loc[which]
    outer = difference[:, :, None] * difference[:, None, :]  # [N, D, D]
    count = jax.ops.segment_sum(jnp.ones(n), which, components)
    centred = x - x.mean(axis=0, keepdims=True)
    whole = centred.T @ centred / n + 1e-6 * jnp.eye(dim)
    examples = max(n - components, 0) + 1
    within = (outer.sum(axis=0) + whole) / examples
    within = (examples * within + dim * jnp.diag(jnp.diagonal(within))) / (examples + dim)
    pseudo_examples = dim + 1.0
    total = jax.ops.segment_sum(outer, which, components) + pseudo_examples * within[None]
    covariance = total / (count + pseudo_examples)[:, None, None]
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


def gaussian_mixture(
    dim: int, components: int, *, kmeans_iterations: int = 20, group: str = "prior"
) -> Model:
    """p(z) = Σ_k π_k N(z; μ_k, Σ_k), without latents; parameter group `prior`.

    The ex-post density of 1903.12436 (section 4). It is initialised from the k-means clusters of
    the first batch, which should therefore hold many examples for each component.

    Args:
      dim: D of the vectors.
      components: K.
      kmeans_iterations: of the initialisation.
      group: name of the parameter group.

    Raises:
      ValueError: `components` is less than 1.
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
        x = jnp.asarray(x, jnp.float32)
        return {group: _init_from_clusters(key, x, components, kmeans_iterations)}

    def decode(params: Params, zs: tuple[()], batch: Batch | None = None) -> Mixture:
        del zs
        return density(params, 1 if batch is None else len(event(batch)))

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        del key
        x = event(batch)
        chex.assert_shape(x, (None, dim))
        return make_trace(x, density(params, len(x)), (), step)

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        del params, batch, key
        return ()

    def sample_vectors(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
    ) -> jax.Array:
        del condition
        return density(params, n).sample(key, temperature)

    generate = generate_with(sample_vectors, lambda params, vectors, condition: Delta(vectors))
    return Model(init, forward, encode, decode, generate)
