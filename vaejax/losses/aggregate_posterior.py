"""Losses of the aggregate posterior q(z) = E q(z | x), estimated from one batch."""

import math
from typing import cast

import jax
import jax.numpy as jnp

from vaejax.core.distribution import Distribution, WithVariance
from vaejax.core.game import Latent, Losses, LossTransform, Trace
from vaejax.core.registry import near_names
from vaejax.losses.base import stateless
from vaejax.losses.elbo import sampled_kl

__all__ = ["DIP_KINDS", "SAMPLINGS", "decomposition", "dip", "log_aggregate"]

SAMPLINGS = ("weighted", "stratified")
DIP_KINDS = ("i", "ii")


def _max_elements() -> int:
    """Elements of a chunk `[rows, B, D]`: 4 MiB on CPU, which fits its cache; otherwise 32 MiB."""
    return 2**20 if jax.default_backend() == "cpu" else 2**23


def _log_weights(rows: int, examples: int, sampling: str) -> jax.Array:
    """Log of the weight of q(z_i | x_j) in the estimate of q(z_i), `[B, B]` or `[B, 1]`."""
    if sampling == "weighted":  # 1802.04942, section 3.1 and appendix C.1
        return jnp.full((rows, 1), -math.log(examples) - math.log(rows))
    # Appendix C.2: the example itself has weight 1 / N; of the M others, all but one have weight
    # 1 / M, and the last one the remainder, so that the estimate of q(z_i) is unbiased.
    others = rows - 1
    itself, remainder = 1.0 / examples, (examples - others) / (examples * others)
    gap = (jnp.arange(rows)[None, :] - jnp.arange(rows)[:, None]) % rows
    weights = jnp.where(gap == 0, itself, jnp.where(gap == 1, remainder, 1.0 / others))
    return jnp.log(weights)


def log_aggregate(
    posterior: Distribution, z: jax.Array, log_weights: jax.Array, max_elements: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """log Σ_j w_ij q(z_i | x_j): the joint one `[B]`, and that of each dimension `[B, D]`.

    The `[B, B, D]` densities are computed in chunks of rows i, and again in the backward pass, so
    that memory is bounded. The rows of a chunk are strided over the batch, and so over devices.

    Args:
      posterior: with parameters `[B, D]` (or scalars) and an elementwise density.
      z: samples `[B, D]`.
      log_weights: log w, `[B, B]`, or `[B, 1]` if it is the same for all j.
      max_elements: bound of the densities held at once; None for the backend's default.
    """
    size, dims = z.shape
    bound = _max_elements() if max_elements is None else max_elements
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    chunks = next((n for n in divisors if size // n * size * dims <= bound), size)
    posteriors = jax.tree.map(lambda a: a[None] if a.ndim else a, posterior)  # [1, B, D]

    @jax.checkpoint
    def chunk(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        z, log_weights = inputs  # [C, D], [C, B or 1]
        log_q = posteriors.log_prob(z[:, None])  # [C, B, D]
        joint = jax.nn.logsumexp(log_q.sum(axis=2) + log_weights, axis=1)
        return joint, jax.nn.logsumexp(log_q + log_weights[:, :, None], axis=1)

    def split(a: jax.Array) -> jax.Array:  # every chunk has rows of each device
        return jnp.swapaxes(a.reshape(size // chunks, chunks, a.shape[1]), 0, 1)

    joint, marginal = jax.lax.map(chunk, (split(z), split(log_weights)))
    return joint.T.reshape(size), jnp.swapaxes(marginal, 0, 1).reshape(size, dims)


def _check(loss: str, node: Latent) -> None:
    """Raises ValueError unless a node has a density that is elementwise over a vector."""
    q, z = node.posterior, node.z
    leaves = jax.tree.leaves(q)
    fits = z.ndim == 2 and all(leaf.shape in ((), z.shape) for leaf in leaves)
    if not fits or jax.eval_shape(lambda q, z: q.log_prob(z), q, z).shape != z.shape:
        raise ValueError(
            f"the loss {loss!r} needs nodes with an elementwise density over a vector [B, D], "
            f"found a posterior of type {type(q).__name__} and z of shape {z.shape}; use "
            "bottlenecks.gaussian after an encoder of vectors"
        )


def decomposition(
    examples: int, sampling: str = "weighted", *, max_elements: int | None = None
) -> LossTransform:
    """The KL in three parts, `[B, L]` each, estimated from one sample of z.

    β-TCVAE (1802.04942, eq. 2):
      `mi`: log q(z | x) − log q(z), the index-code mutual information.
      `tc`: log q(z) − Σ_d log q(z_d), the total correlation.
      `dimwise_kl`: Σ_d log q(z_d) − log p(z), the dimension-wise KL where p factorises.

    They sum to log q(z | x) − log p(z), the sampled KL. β-TCVAE minimises nll 1, mi 1, tc β,
    dimwise_kl 1. The aggregate posterior q(z) is that of the training set, estimated from the batch
    of M:

    - `'weighted'` (section 3.1): Σ_j q(z | x_j) / (N·M), which is biased low: for M = N, log q(z)
      is the exact value minus log N.
    - `'stratified'` (appendix C.2): an unbiased estimate of q(z), if the batch is sampled without
      replacement.

    Args:
      examples: size N of the training set.
      sampling: the estimate of q(z).
      max_elements: bound of the `[B, B, D]` densities held at once; None for the backend's default.

    Raises:
      ValueError: an unknown estimate; a node without an elementwise density over a vector; a
        batch of one, or of more than N + 1, for stratified sampling.
    """
    if sampling not in SAMPLINGS:
        raise ValueError(f"unknown sampling of the decomposition {near_names(sampling, SAMPLINGS)}")
    if examples < 1:
        raise ValueError(f"the decomposition needs the training set's size, found {examples}")

    def parts(node: Latent) -> tuple[jax.Array, ...]:
        _check("tc", node)
        q, z = node.posterior, node.z
        size = z.shape[0]
        if sampling == "stratified" and not 2 <= size <= examples + 1:
            raise ValueError(
                f"stratified sampling needs batches of 2 to N + 1 = {examples + 1} examples, found "
                f"{size}; 'weighted' takes any"
            )
        weights = _log_weights(size, examples, sampling)
        joint, marginal = log_aggregate(q, z, weights, max_elements)
        log_q, dimwise = q.log_prob(z).sum(axis=1), marginal.sum(axis=1)
        log_p = log_q - sampled_kl(node)
        return log_q - joint, joint - dimwise, dimwise - log_p

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        columns = zip(*(parts(node) for node in trace.latents), strict=True)
        return {
            name: jnp.stack(column, axis=1)
            for name, column in zip(("mi", "tc", "dimwise_kl"), columns, strict=True)
        }

    return stateless(apply, batch_statistics=("mi", "tc", "dimwise_kl"))


def dip(kind: str = "i") -> LossTransform:
    """Squared distances between the covariance C of the aggregate posterior and I, `[]` each.

    DIP-VAE (1711.00848):
      `dip_off_diagonal`: Σ_{i≠j} C_ij², minimised with weight λ_od.
      `dip_diagonal`: Σ_i (C_ii − 1)², minimised with weight λ_d.

    Both are statistics of the batch, summed over the nodes.

    Args:
      kind: `'i'`: C is the covariance of the posterior means (eq. 6); `'ii'`: of z itself, which
        adds the mean of the posteriors' variances (eq. 7).

    Raises:
      ValueError: an unknown kind, or a posterior without a mean and variance of a vector.
    """
    if kind not in DIP_KINDS:
        raise ValueError(f"unknown kind of DIP-VAE {near_names(kind, DIP_KINDS)}")
    required = ("mean",) if kind == "i" else ("mean", "variance")

    def penalties(node: Latent) -> tuple[jax.Array, jax.Array]:
        q, z = node.posterior, node.z
        if z.ndim != 2 or any(getattr(q, name, z[0]).shape != z.shape for name in required):
            raise ValueError(
                f"DIP-VAE-{kind.upper()} needs posteriors with a {' and a '.join(required)} of a "
                f"vector [B, D], found type {type(q).__name__} and z of shape {z.shape}"
            )
        centred = q.mean - q.mean.mean(axis=0, keepdims=True)
        precision = jax.lax.Precision.HIGHEST
        covariance = jnp.matmul(centred.T, centred, precision=precision) / z.shape[0]
        if kind == "ii":
            covariance += jnp.diag(cast(WithVariance, q).variance.mean(axis=0))
        diagonal = jnp.diag(covariance)
        off = jnp.sum(jnp.square(covariance - jnp.diag(diagonal)))
        return off, jnp.sum(jnp.square(diagonal - 1.0))

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        off, diagonal = zip(*(penalties(node) for node in trace.latents), strict=True)
        return {
            "dip_off_diagonal": jnp.stack(off).sum(),
            "dip_diagonal": jnp.stack(diagonal).sum(),
        }

    return stateless(apply, batch_statistics=("dip_off_diagonal", "dip_diagonal"))
