"""Disentanglement, completeness and informativeness."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from vaejax.core.game import Family
from vaejax.core.registry import register
from vaejax.core.types import PyTree
from vaejax.data import Source
from vaejax.evaluation.disentanglement.codes_metric import CodesMetric, SplitCodes
from vaejax.evaluation.disentanglement.inputs import (
    Score,
    checked_inputs,
    over_models,
    split_rows,
)
from vaejax.evaluation.disentanglement.lasso import lasso, standardised

__all__ = ["DCI", "LinearDCI", "dci", "dci_linear", "import_ensemble", "importance_scores"]

_TINY = 1e-11  # added to importances, as in 1811.12359


def importance_scores(importance: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Disentanglement and completeness of a matrix of importances R `[D, K]` (section 2).

    Disentanglement is 1 minus the entropy of a row of R (the factors that depend on dimension d),
    in units of log K, averaged over rows weighted by their share of the total importance.
    Completeness is the same for columns (the dimensions that factor k depends on), in units of
    log D. With a single factor, or dimension, the entropy is 0 and that score is 1.
    """
    r = importance + _TINY

    def concentration(r: jax.Array, axis: int) -> jax.Array:
        p = r / r.sum(axis=axis, keepdims=True)
        if r.shape[axis] == 1:
            return jnp.ones(r.shape[1 - axis], r.dtype)
        return 1 + (p * jnp.log(p)).sum(axis=axis) / jnp.log(float(r.shape[axis]))

    share = r / r.sum()
    return (
        (concentration(r, 1) * share.sum(axis=1)).sum(),
        (concentration(r, 0) * share.sum(axis=0)).sum(),
    )


def import_ensemble() -> Any:
    """scikit-learn's module of boosted trees, which `dci` fits.

    Raises:
      ImportError: it is not installed; it is in the extra `eval`.
    """
    try:
        from sklearn import ensemble
    except ImportError as error:
        raise ImportError(
            "dci needs the boosted trees of scikit-learn: pip install 'vaejax[eval]' (dci_linear "
            "does not)"
        ) from error
    return ensemble


def dci(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    train: int | None = None,
    trees: int = 100,
    seed: int = 0,
) -> Score:
    """DCI with gradient-boosted trees (Eastwood and Williams 2018, section 2; 1811.12359).

    For each factor scikit-learn's `GradientBoostingClassifier` predicts its class from all
    dimensions; R_dk is its importance of dimension d. See `importance_scores`. Informativeness is
    the accuracy, averaged over factors. The paper itself fits lasso and random forests and reports
    errors: see `dci_linear`.

    The `trees` trees of each class are fitted sequentially, which makes this by far the slowest of
    the metrics.

    Args:
      codes: `[N, D]` of one model; not traced.
      factors: integer classes `[N, K]`, in random order; constant ones are left out,
        as are those constant among the rows of either part.
      train: rows to fit to, the first; the others test. None for two thirds.
      trees: rounds of boosting.
      seed: of the order in which equally good splits are tried.

    Returns:
      disentanglement, completeness, informativeness (on test rows), informativeness_train, and
      importance `[D, K]` (NaN for constant factors).

    Raises:
      ValueError: codes and factors do not fit, or `train` leaves too little.
      ImportError: scikit-learn is missing.
    """
    ensemble = import_ensemble()
    inputs = checked_inputs(codes, factors)
    if inputs.codes.ndim != 2:
        raise ValueError(
            f"dci fits trees on the host, for one model at a time: expected codes [N, D], found "
            f"{inputs.codes.shape}; dci_linear takes several"
        )
    inputs, rows = split_rows(inputs, train)
    z = np.asarray(inputs.codes, np.float64)
    importance, accuracies = [], []
    for y in inputs.classes.T:
        model = ensemble.GradientBoostingClassifier(n_estimators=trees, random_state=seed)
        model.fit(z[:rows], y[:rows])
        correct = model.predict(z) == y
        importance.append(model.feature_importances_)
        accuracies.append((correct[:rows].mean(), correct[rows:].mean()))
    matrix = jnp.asarray(np.stack(importance, axis=-1), jnp.float32)
    fit, test = jnp.asarray(np.mean(accuracies, axis=0), jnp.float32)
    return _named(importance_scores(matrix), fit, test, inputs.per_factor(matrix))


def dci_linear(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    train: int | None = None,
    penalty: float = 0.02,
) -> Score:
    """DCI with the lasso, compiled (Eastwood and Williams 2018, section 2).

    R_dk = |w_dk| of a lasso from standardised codes to the standardised class number of factor k.
    Class numbers are treated as quantities: suitable for position and size, less so for shape, and
    an angle is discontinuous where it closes. Values are not comparable with those of `dci`. Of
    equal dimensions the lasso selects the first, so redundancy is not detected; noise leaves a few
    small weights, whose scores are meaningless: check informativeness first.

    Informativeness is the fraction of explained variance, 1 minus the squared error over the
    variance; the paper reports the root of that ratio.

    Args:
      codes: `[..., N, D]`, of one model or several.
      factors: integer classes `[N, K]`, in random order; constant ones are left out,
        as are those constant among the rows of either part.
      train: rows to fit to, the first; the others test. None for two thirds.
      penalty: of ‖w‖₁, added to half the mean squared error.

    Returns:
      disentanglement, completeness, informativeness (on test rows, negative if worse than
      predicting the mean), informativeness_train `[...]`, and importance `[..., D, K]` (NaN for
      constant factors).

    Raises:
      ValueError: codes and factors do not fit, or `train` leaves too little.
    """
    inputs, rows = split_rows(checked_inputs(codes, factors), train)
    matrix, scores, fit, test = over_models(
        lambda z: _linear(z, jnp.asarray(inputs.classes), rows, penalty), inputs.codes
    )
    return _named(scores, fit, test, inputs.per_factor(matrix))


def _named(scores: tuple[jax.Array, jax.Array], fit: Any, test: Any, importance: Any) -> Score:
    return {
        "disentanglement": scores[0],
        "completeness": scores[1],
        "informativeness": test,
        "informativeness_train": fit,
        "importance": importance,
    }


@functools.partial(jax.jit, static_argnames=("rows",))
def _linear(codes: jax.Array, classes: jax.Array, rows: int, penalty: float) -> PyTree:
    y, z = standardised(classes.astype(codes.dtype), rows), standardised(codes, rows)
    weights = lasso(z[:rows], y[:rows], penalty)  # [D, K]
    error = jnp.square(y - z @ weights)

    def explained_variance(rows: slice) -> jax.Array:
        variance = jnp.square(y[rows] - y[rows].mean(axis=0)[None]).mean(axis=0)
        return (1 - error[rows].mean(axis=0) / jnp.maximum(variance, 1e-12)).mean()

    matrix = jnp.abs(weights)
    fit, test = explained_variance(slice(rows)), explained_variance(slice(rows, None))
    return matrix, importance_scores(matrix), fit, test


def _parts(metric: str, scores: Score) -> dict[str, jax.Array]:
    names = ("disentanglement", "completeness", "informativeness")
    return {f"{metric}/{name}": scores[name] for name in names}


@register("metric", "dci_linear")
class LinearDCI(CodesMetric):
    """`dci_linear/...`: see `dci_linear`."""

    def scores(self, split: SplitCodes) -> Mapping[str, jax.Array | float]:
        """The scores of a split."""
        return _parts("dci_linear", dci_linear(*split.table))


@register("metric", "dci")
class DCI(CodesMetric):
    """`dci/...` with boosted trees: see `dci`."""

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply.

        Raises:
          ImportError: scikit-learn is missing.
        """
        import_ensemble()
        return super().requires(family, source)

    def scores(self, split: SplitCodes) -> Mapping[str, jax.Array | float]:
        """The scores of a split."""
        return _parts("dci", dci(*split.table))
