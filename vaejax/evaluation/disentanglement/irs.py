"""The interventional robustness score."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from vaejax.core.registry import register
from vaejax.evaluation.disentanglement.codes_metric import CodesMetric, SplitCodes
from vaejax.evaluation.disentanglement.histograms import BINS, binned
from vaejax.evaluation.disentanglement.inputs import Score, checked_inputs, over_models

__all__ = ["IRS", "irs"]


def irs(codes: ArrayLike, factors: ArrayLike, *, quantile: float = 0.99, bins: int = BINS) -> Score:
    """Interventional robustness score (Suter et al., 1811.00007).

    The maximal deviation of a dimension from its mean under y_k = c while the other factors change;
    averaged over c, divided by its maximal deviation from its overall mean, and subtracted from 1.
    The score of a dimension is its best over k, and IRS the mean over dimensions weighted by their
    overall deviation, so constant dimensions have weight 0. It is 1 if each dimension depends on
    one factor; several may depend on the same. All combinations of factors are assumed to be
    equally frequent.

    As in 1811.12359 the maximum is replaced by a high quantile, and the classes of each factor are
    binned. Noise scores above 0: with few examples per class, deviations from the mean of the class
    are smaller.

    Args:
      codes: `[..., N, D]`, of one model or several.
      factors: integer classes `[N, K]`.
      quantile: of the deviations; 1.0 for the paper's maximum.
      bins: for the classes of each factor; at least as many as classes for the paper's definition.

    Returns:
      irs `[...]`, 0 if all dimensions are constant, and irs_per_code `[..., D]`.

    Raises:
      ValueError: codes and factors do not fit, or quantile outside (0, 1].
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must be in (0, 1], found {quantile}")
    inputs = checked_inputs(codes, factors)
    groups = binned(jnp.asarray(inputs.classes, jnp.float32), bins)
    score, per_code = over_models(lambda z: _robustness(z, groups, quantile, bins), inputs.codes)
    return {"irs": score, "irs_per_code": per_code}


@functools.partial(jax.jit, static_argnames=("bins",))
def _robustness(
    codes: jax.Array, groups: jax.Array, quantile: float, bins: int
) -> tuple[jax.Array, jax.Array]:
    max_deviation = jnp.abs(codes - codes.mean(axis=0)[None]).max(axis=0)  # [D]
    # Compared exactly: the mean of a constant column may differ from it by rounding.
    varies = codes.max(axis=0) > codes.min(axis=0)

    def mean_quantile(z: jax.Array, group: jax.Array) -> jax.Array:
        """The mean over groups of the quantile of |z − mean of the group|."""
        count = jax.ops.segment_sum(jnp.ones_like(group), group, bins)
        size = jnp.maximum(count, 1).astype(z.dtype)
        mean = jax.ops.segment_sum(z, group, bins) / size
        _, deviation = jax.lax.sort((group, jnp.abs(z - mean[group])), num_keys=2)
        # Linear between order statistics, within each group's part of the sorted column.
        position = quantile * jnp.maximum(count - 1, 0).astype(z.dtype)
        low = jnp.floor(position).astype(jnp.int32)
        high = jnp.minimum(low + 1, jnp.maximum(count - 1, 0))
        start, share = jnp.cumsum(count) - count, position - low.astype(z.dtype)
        value = deviation[start + low] * (1 - share) + deviation[start + high] * share
        occupied = count > 0
        return jnp.where(occupied, value, 0.0).sum() / occupied.sum().astype(z.dtype)

    deviations = jax.vmap(jax.vmap(mean_quantile, (None, 1)), (1, None))(codes, groups)  # [D, K]
    ratio = deviations / jnp.where(varies, max_deviation, 1.0)[:, None]
    per_code = jnp.where(varies, (1 - ratio).max(1), 0.0)
    weight = jnp.where(varies, max_deviation, 0.0)
    total = weight.sum()
    return (weight * per_code).sum() / jnp.where(total > 0, total, 1.0), per_code


@register("metric", "irs")
class IRS(CodesMetric):
    """`irs`, the interventional robustness score: see `irs`."""

    def scores(self, split: SplitCodes) -> Mapping[str, jax.Array | float]:
        """The score of a split."""
        return {"irs": irs(*split.train)["irs"]}
