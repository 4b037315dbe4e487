"""Unsupervised disentanglement ranking: the agreement of models of one data set."""

import functools

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from vaejax.evaluation.disentanglement.inputs import Score
from vaejax.evaluation.disentanglement.lasso import lasso, standardised

__all__ = ["udr"]

_CORRELATIONS = ("lasso", "spearman")


def udr(
    codes: ArrayLike,
    kl: ArrayLike | None = None,
    *,
    correlation: str = "lasso",
    threshold: float = 0.01,
    penalty: float = 0.1,
) -> Score:
    """Unsupervised disentanglement ranking (Duan et al., 1905.12614), without factors.

    For two models with similarity R `[D, D]` of their dimensions, the mean over the second's
    dimensions of max_a R_ab² / Σ_a R_ab and the mean over the first's of max_b R_ab² / Σ_b R_ab,
    averaged: 1 if their informative dimensions are the same up to order and sign. A model's
    score is the median over the others. (The authors' code averages the two means; the paper's
    equation pools them, which differs where the models keep different numbers of dimensions.)

    Meant for models that differ only in their seed. The first model of a pair predicts the codes of
    the second, so with the lasso `pairwise` is not symmetric, and due to the shrinkage even two
    equal models score about 1 − penalty.

    Args:
      codes: `[M, N, D]`, means of the same N examples by M models.
      kl: KL in nats of each dimension `[M, D]`, averaged over examples; None keeps all that vary.
      correlation: `'lasso'`, the absolute weights of a lasso, or `'spearman'`, the absolute rank
        correlation.
      threshold: dimensions with less KL are left out.
      penalty: of the lasso.

    Returns:
      udr `[M]` and pairwise `[M, M]`, of model i predicting j, zero on the diagonal. Pairs with a
      model that has no dimension left score 0.

    Raises:
      ValueError: fewer than two models, other shapes, or an unknown correlation.
    """
    z = jnp.asarray(codes, jnp.float32)
    if z.ndim != 3 or len(z) < 2:
        raise ValueError(f"expected codes [M, N, D] of at least two models, found {z.shape}")
    if correlation not in _CORRELATIONS:
        raise ValueError(f"unknown correlation {correlation!r}: expected 'lasso' or 'spearman'")
    kept = z.max(axis=1) > z.min(axis=1)
    if kl is not None:
        shape = jnp.shape(jnp.asarray(kl))
        if shape != kept.shape:
            raise ValueError(f"expected kl [M, D] = {kept.shape}, found shape {shape}")
        kept = kept & (jnp.asarray(kl, jnp.float32) > threshold)
    with jax.default_matmul_precision("highest"):
        pairwise = _pairwise(z, kept, correlation, penalty)
    m = len(z)
    others = pairwise.T[~jnp.eye(m, dtype=bool)].reshape(m, m - 1)
    return {"udr": jnp.median(others, axis=1), "pairwise": pairwise}


@functools.partial(jax.jit, static_argnames=("correlation",))
def _pairwise(codes: jax.Array, kept: jax.Array, correlation: str, penalty: float) -> jax.Array:
    if correlation == "spearman":  # ranks before standardising, whose rounding could create ties
        codes = jax.vmap(jax.vmap(_ranks, 1, 1))(codes)
    z = jax.vmap(standardised)(codes) * kept[:, None].astype(codes.dtype)

    def similarity(x: jax.Array, y: jax.Array) -> jax.Array:
        if correlation == "spearman":
            return jnp.abs(x.T @ y) / len(x)
        return jnp.abs(lasso(x, y, penalty))

    def score(i: jax.Array, j: jax.Array) -> jax.Array:
        r = similarity(z[i], z[j]) * (kept[i][:, None] & kept[j][None]).astype(z.dtype)
        mean = (_relative_strength(r, kept[j]) + _relative_strength(r.T, kept[i])) / 2
        return jnp.where(i == j, 0.0, mean)

    models = jnp.arange(len(codes))
    return jax.lax.map(lambda i: jax.vmap(lambda j: score(i, j))(models), models)


def _relative_strength(r: jax.Array, kept: jax.Array) -> jax.Array:
    """Mean over kept columns of the largest entry squared over the sum; 0 for empty ones."""
    total = r.sum(axis=0)
    share = jnp.square(r.max(axis=0)) / jnp.where(total > 0, total, 1.0)
    count = kept.sum().astype(r.dtype)
    return jnp.where(kept, share, 0.0).sum() / jnp.maximum(count, 1.0)


def _ranks(x: jax.Array) -> jax.Array:
    """Ranks `[N]` from 1, those of equal values averaged."""
    ordered = jnp.sort(x)
    below = jnp.searchsorted(ordered, x, side="left")
    not_above = jnp.searchsorted(ordered, x, side="right")
    return 0.5 * (below + not_above + 1).astype(x.dtype)
