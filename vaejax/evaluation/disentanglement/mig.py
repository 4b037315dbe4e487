"""The mutual information gap."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from vaejax.core.registry import register
from vaejax.evaluation.disentanglement.codes_metric import CodesMetric, SplitCodes
from vaejax.evaluation.disentanglement.histograms import BINS, information_and_entropy
from vaejax.evaluation.disentanglement.inputs import Score, checked_inputs, over_models

__all__ = ["MIG", "mig", "top_two_gap"]


def mig(codes: ArrayLike, factors: ArrayLike, *, bins: int = BINS) -> Score:
    """Mutual information gap (Chen et al., 1802.04942, section 4).

    Mean over factors k of (I(z_1st; y_k) − I(z_2nd; y_k)) / H(y_k), with the two dimensions that
    have most information about y_k: 1 if each factor is in one dimension, 0 if equally in two.

    This is the definition of 1811.12359: posterior *means* in 20 equal bins, each dimension
    over its own range. The code of β-TCVAE's authors computes I(z; y_k) from *samples* of z and
    their densities instead, and leaves out the shape of dSprites; its values are higher and must
    not be compared with these.

    A constant dimension has no information. With a single dimension, the second largest information
    is taken as 0. Constant factors are left out of the mean.

    Args:
      codes: `[..., N, D]`, of one model or, along the leading axes, of several at once.
      factors: integer classes `[N, K]`.
      bins: for each dimension.

    Returns:
      mig `[...]`, and mig_per_factor `[..., K]`, NaN where the factor is constant.

    Raises:
      ValueError: codes and factors do not fit, see `inputs.checked_inputs`.
    """
    inputs = checked_inputs(codes, factors)

    def gaps(codes: jax.Array) -> jax.Array:
        return _gaps(codes, jnp.asarray(inputs.classes), bins, max(inputs.sizes))

    per_factor = over_models(gaps, inputs.codes)
    return {"mig": per_factor.mean(axis=-1), "mig_per_factor": inputs.per_factor(per_factor)}


@functools.partial(jax.jit, static_argnames=("bins", "max_classes"))
def _gaps(codes: jax.Array, classes: jax.Array, bins: int, max_classes: int) -> jax.Array:
    information, entropy = information_and_entropy(codes, classes, bins, max_classes)
    return top_two_gap(information) / entropy


def top_two_gap(scores: jax.Array) -> jax.Array:
    """Largest minus second largest of each column, `[D, K] -> [K]`; with one row, the row."""
    if len(scores) == 1:
        return scores[0]
    ordered = jnp.sort(scores, axis=0)
    return ordered[-1] - ordered[-2]


@register("metric", "mig")
class MIG(CodesMetric):
    """`mig`, the mutual information gap: see `mig`."""

    def scores(self, split: SplitCodes) -> Mapping[str, jax.Array | float]:
        """The score of a split."""
        return {"mig": mig(*split.train)["mig"]}
