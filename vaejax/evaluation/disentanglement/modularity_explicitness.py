"""Modularity and explicitness."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from vaejax.core.registry import register
from vaejax.evaluation.disentanglement.codes_metric import CodesMetric, SplitCodes
from vaejax.evaluation.disentanglement.histograms import BINS, information_and_entropy
from vaejax.evaluation.disentanglement.inputs import (
    Score,
    checked_inputs,
    over_models,
    split_rows,
)
from vaejax.evaluation.disentanglement.lasso import standardised
from vaejax.evaluation.disentanglement.logistic import logistic_regression, roc_auc

__all__ = ["Explicitness", "Modularity", "explicitness", "modularity"]


def modularity(codes: ArrayLike, factors: ArrayLike, *, bins: int = BINS) -> Score:
    """Modularity (Ridgeway and Mozer, 1802.05312, section 3): one factor per dimension.

    Mean over dimensions of 1 − Σ_k≠best I(z; y_k)² / ((K − 1) I(z; y_best)²): 1 if each has
    information about one factor alone, whether or not others have the same. A dimension without
    any scores 0, as in 1811.12359. Information is of means in 20 bins, as for `mig`.

    The information of noise is not zero in a finite sample and is similar for all factors, so noise
    scores well above 0.

    Args:
      codes: `[..., N, D]`, of one model or several.
      factors: integer classes `[N, K]`; constant ones are left out.
      bins: for each dimension.

    Returns:
      modularity `[...]` and modularity_per_code `[..., D]`.

    Raises:
      ValueError: codes and factors do not fit, or fewer than two factors vary.
    """
    inputs = checked_inputs(codes, factors)
    if len(inputs.sizes) < 2:
        raise ValueError("modularity compares factors: at least two must vary, found one")

    def of_model(codes: jax.Array) -> jax.Array:
        return _modularity(codes, jnp.asarray(inputs.classes), bins, max(inputs.sizes))

    per_code = over_models(of_model, inputs.codes)
    return {"modularity": per_code.mean(axis=-1), "modularity_per_code": per_code}


@functools.partial(jax.jit, static_argnames=("bins", "max_classes"))
def _modularity(codes: jax.Array, classes: jax.Array, bins: int, max_classes: int) -> jax.Array:
    information, _ = information_and_entropy(codes, classes, bins, max_classes)
    # The information of a constant column is zero up to rounding.
    varies = codes.max(axis=0) > codes.min(axis=0)
    squared = jnp.square(information)
    best = squared.max(axis=1)
    others = (squared.sum(axis=1) - best) / (squared.shape[1] - 1)
    informative = varies & (best > 0)
    return jnp.where(informative, 1 - others / jnp.where(informative, best, 1.0), 0.0)


def explicitness(codes: ArrayLike, factors: ArrayLike, *, train: int | None = None) -> Score:
    """Explicitness (Ridgeway and Mozer, 1802.05312, section 3): linear predictability of factors.

    For each factor a logistic regression from all dimensions to its class; the area under the ROC
    curve of each class against the others, averaged over classes, then over factors. 1 is best, ½
    is chance. As in 1811.12359, one multinomial regression per factor, with scikit-learn's default
    penalty, on standardised codes.

    Args:
      codes: `[..., N, D]`, of one model or several.
      factors: integer classes `[N, K]`, in random order; constant ones are left out.
      train: rows to fit to, the first; the others test. None for two thirds.

    Returns:
      explicitness and explicitness_train `[...]`, on the test and on the training rows, and
      explicitness_per_factor `[..., K]`, on the test rows, NaN for constant factors.

    Raises:
      ValueError: codes and factors do not fit, or `train` leaves too little.
    """
    inputs, rows = split_rows(checked_inputs(codes, factors), train)
    sizes = jnp.asarray(inputs.sizes, jnp.int32)

    def of_model(codes: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _explicitness(codes, jnp.asarray(inputs.classes), sizes, rows, max(inputs.sizes))

    fit, test = over_models(of_model, inputs.codes)
    return {
        "explicitness": test.mean(axis=-1),
        "explicitness_train": fit.mean(axis=-1),
        "explicitness_per_factor": inputs.per_factor(test),
    }


@functools.partial(jax.jit, static_argnames=("rows", "max_classes"))
def _explicitness(
    codes: jax.Array, classes: jax.Array, sizes: jax.Array, rows: int, max_classes: int
) -> tuple[jax.Array, jax.Array]:
    z = standardised(codes, rows)

    def of_factor(y: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
        fitted = logistic_regression(z[:rows], y[:rows], max_classes, size)
        score = jax.nn.softmax(fitted.logits(z), axis=-1)

        def mean_auc(score: jax.Array, y: jax.Array) -> jax.Array:
            auc = jax.vmap(lambda s, c: roc_auc(s, y == c), (1, 0))(
                score, jnp.arange(max_classes, dtype=y.dtype)
            )
            return jnp.nanmean(auc)  # NaN for a class of none or of all rows

        return mean_auc(score[:rows], y[:rows]), mean_auc(score[rows:], y[rows:])

    return jax.vmap(of_factor, (1, 0))(classes, sizes)


@register("metric", "modularity")
class Modularity(CodesMetric):
    """`modularity`: see `modularity`."""

    def scores(self, split: SplitCodes) -> Mapping[str, jax.Array | float]:
        """The score of a split."""
        return {"modularity": modularity(*split.train)["modularity"]}


@register("metric", "explicitness")
class Explicitness(CodesMetric):
    """`explicitness`: see `explicitness`."""

    def scores(self, split: SplitCodes) -> Mapping[str, jax.Array | float]:
        """The score of a split."""
        return {"explicitness": explicitness(*split.table)["explicitness"]}
