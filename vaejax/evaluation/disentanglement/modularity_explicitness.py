"""Modularity and explicitness."""

import functools

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from vaejax.evaluation.disentanglement.histograms import BINS, information_and_entropy
from vaejax.evaluation.disentanglement.inputs import Score, judged, over_models, rows_to_learn_from
from vaejax.evaluation.disentanglement.logistic import logistic_regression, roc_auc


def modularity(codes: ArrayLike, factors: ArrayLike, *, bins: int = BINS) -> Score:
    """Modularity (Ridgeway and Mozer, 1802.05312, section 3): a dimension knows one factor.

    Mean over dimensions of 1 − Σ_k≠best I(z; y_k)² / ((K − 1) I(z; y_best)²): 1 if each has
    information about one factor alone, whether or not others have the same. A dimension without
    any scores 0, as in 1811.12359. Information is of means in 20 bins, as for `mig`.

    The information of noise is not zero in a finite sample and does not differ much between
    factors, so noise scores well above 0.

    Args:
      codes: `[..., N, D]`, of one model or several.
      factors: integer classes `[N, K]`; the constant ones have no part.
      bins: for each dimension.

    Returns:
      modularity `[...]` and modularity_per_code `[..., D]`.

    Raises:
      ValueError: codes and factors do not fit, or fewer than two factors vary.
    """
    given = judged(codes, factors)
    if len(given.sizes) < 2:
        raise ValueError("modularity compares factors: at least two must vary, found one")

    def of_model(codes: jax.Array) -> jax.Array:
        return _modularity(codes, jnp.asarray(given.classes), bins, max(given.sizes))

    per_code = over_models(of_model, given.codes)
    return {"modularity": per_code.mean(axis=-1), "modularity_per_code": per_code}


@functools.partial(jax.jit, static_argnames=("bins", "most"))
def _modularity(codes: jax.Array, classes: jax.Array, bins: int, most: int) -> jax.Array:
    information, _ = information_and_entropy(codes, classes, bins, most)
    # A constant column's is zero but for rounding.
    alive = codes.max(axis=0) > codes.min(axis=0)
    squared = jnp.square(information)
    best = squared.max(axis=1)
    others = (squared.sum(axis=1) - best) / (squared.shape[1] - 1)
    known = alive & (best > 0)
    return jnp.where(known, 1 - others / jnp.where(known, best, 1.0), 0.0)


def explicitness(codes: ArrayLike, factors: ArrayLike, *, train: int | None = None) -> Score:
    """Explicitness (Ridgeway and Mozer, 1802.05312, section 3): a linear rule tells a factor.

    For each factor a logistic regression from all dimensions to its class; the area under the ROC
    curve of each class against the others, averaged over classes, then over factors. 1 where
    classes are told without fault, ½ by chance. As in 1811.12359, one multinomial regression a
    factor, with scikit-learn's default penalty, on standardised codes.

    Args:
      codes: `[..., N, D]`, of one model or several.
      factors: integer classes `[N, K]`, in random order; the constant ones have no part.
      train: rows to fit to, the first; the others test. None for two thirds.

    Returns:
      explicitness and explicitness_train `[...]`, on the test and on the training rows, and
      explicitness_per_factor `[..., K]`, on the test rows, NaN for constant factors.

    Raises:
      ValueError: codes and factors do not fit, or `train` leaves too little.
    """
    given = judged(codes, factors)
    rows = rows_to_learn_from(given.classes, train)
    sizes = jnp.asarray(given.sizes, jnp.int32)

    def of_model(codes: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _explicitness(codes, jnp.asarray(given.classes), sizes, rows, max(given.sizes))

    fit, test = over_models(of_model, given.codes)
    return {
        "explicitness": test.mean(axis=-1),
        "explicitness_train": fit.mean(axis=-1),
        "explicitness_per_factor": given.per_factor(test),
    }


@functools.partial(jax.jit, static_argnames=("rows", "most"))
def _explicitness(
    codes: jax.Array, classes: jax.Array, sizes: jax.Array, rows: int, most: int
) -> tuple[jax.Array, jax.Array]:
    deviation = codes[:rows].std(axis=0)
    z = (codes - codes[:rows].mean(axis=0)[None]) / jnp.where(deviation > 0, deviation, 1.0)[None]

    def of_factor(y: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
        fitted = logistic_regression(z[:rows], y[:rows], most, size)
        score = jax.nn.softmax(fitted.logits(z), axis=-1)

        def mean_auc(score: jax.Array, y: jax.Array) -> jax.Array:
            auc = jax.vmap(lambda s, c: roc_auc(s, y == c), (1, 0))(
                score, jnp.arange(most, dtype=y.dtype)
            )
            return jnp.nanmean(auc)  # classes that do not occur, or alone, have none

        return mean_auc(score[:rows], y[:rows]), mean_auc(score[rows:], y[rows:])

    return jax.vmap(of_factor, (1, 0))(classes, sizes)
