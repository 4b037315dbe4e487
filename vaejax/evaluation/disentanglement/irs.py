"""The interventional robustness score."""

import functools

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from vaejax.evaluation.disentanglement.histograms import BINS, binned
from vaejax.evaluation.disentanglement.inputs import Score, judged, over_models


def irs(codes: ArrayLike, factors: ArrayLike, *, quantile: float = 0.99, bins: int = BINS) -> Score:
    """Interventional robustness score (Suter et al., 1811.00007).

    How far a dimension strays, at most, from its mean under y_k = c while the other factors
    change; averaged over c, divided by how far it strays from its mean at all, and subtracted
    from 1. A dimension's score is its best over k, and IRS their mean weighted by how far each
    strays, so that constant dimensions have no part. 1 if each dimension depends on one factor;
    several may depend on the same. It is assumed that all combinations of factors occur alike.

    As in 1811.12359 "at most" is a high quantile, and factors of many classes go in bins. Noise
    does not score 0: with few examples a class their deviations from their own mean are smaller.

    Args:
      codes: `[..., N, D]`, of one model or several.
      factors: integer classes `[N, K]`.
      quantile: of the deviations; 1.0 for the paper's maximum.
      bins: for the classes of each factor; at least as many as classes, for the paper's.

    Returns:
      irs `[...]`, 0 if all dimensions are constant, and irs_per_code `[..., D]`.

    Raises:
      ValueError: codes and factors do not fit, or quantile outside (0, 1].
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must be in (0, 1], found {quantile}")
    given = judged(codes, factors)
    groups = binned(jnp.asarray(given.classes, jnp.float32), bins)
    score, per_code = over_models(lambda z: _robustness(z, groups, quantile, bins), given.codes)
    return {"irs": score, "irs_per_code": per_code}


@functools.partial(jax.jit, static_argnames=("bins",))
def _robustness(
    codes: jax.Array, groups: jax.Array, quantile: float, bins: int
) -> tuple[jax.Array, jax.Array]:
    strays = jnp.abs(codes - codes.mean(axis=0)[None]).max(axis=0)  # [D]
    # The mean of a constant column may differ from it by rounding.
    alive = codes.max(axis=0) > codes.min(axis=0)

    def of_pair(z: jax.Array, group: jax.Array) -> jax.Array:
        """The mean over groups of the quantile of |z − mean of the group|."""
        count = jax.ops.segment_sum(jnp.ones_like(group), group, bins)
        size = jnp.maximum(count, 1).astype(z.dtype)
        mean = jax.ops.segment_sum(z, group, bins) / size
        _, deviation = jax.lax.sort((group, jnp.abs(z - mean[group])), num_keys=2)
        # Linear between order statistics, within each group's part of the sorted column.
        place = quantile * jnp.maximum(count - 1, 0).astype(z.dtype)
        low = jnp.floor(place).astype(jnp.int32)
        high = jnp.minimum(low + 1, jnp.maximum(count - 1, 0))
        start, share = jnp.cumsum(count) - count, place - low.astype(z.dtype)
        value = deviation[start + low] * (1 - share) + deviation[start + high] * share
        there = count > 0
        return jnp.where(there, value, 0.0).sum() / there.sum().astype(z.dtype)

    pairs = jax.vmap(jax.vmap(of_pair, (None, 1)), (1, None))(codes, groups)  # [D, K]
    per_code = jnp.where(alive, (1 - pairs / jnp.where(alive, strays, 1.0)[:, None]).max(1), 0.0)
    weight = jnp.where(alive, strays, 0.0)
    total = weight.sum()
    return (weight * per_code).sum() / jnp.where(total > 0, total, 1.0), per_code
