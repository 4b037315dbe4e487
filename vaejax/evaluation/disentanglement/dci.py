"""Disentanglement, completeness and informativeness."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from vaejax.evaluation.disentanglement.inputs import Score, judged, over_models, rows_to_learn_from
from vaejax.evaluation.disentanglement.lasso import lasso, standardised

_TINY = 1e-11  # added to importances, as in 1811.12359


def importance_scores(importance: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Disentanglement and completeness of a matrix of importances R `[D, K]` (section 2).

    1 minus the entropy of a row of R (the factors that dimension d serves), in units of log K,
    averaged with the row's share of all importance as its weight; and likewise of columns (the
    dimensions that factor k uses), in units of log D. With one factor, or one dimension, there is
    nothing to mix up: that score is 1.
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


def require_trees() -> Any:
    """The module of scikit-learn that `dci` grows its trees with.

    Raises:
      ImportError: it is not installed; the extra `eval` has it.
    """
    try:
        from sklearn import ensemble
    except ImportError as error:
        raise ImportError(
            "dci grows its trees with scikit-learn: pip install 'vaejax[eval]' (dci_linear needs "
            "none)"
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

    For each factor scikit-learn's `GradientBoostingClassifier` learns its class from all
    dimensions; R_dk is the importance that it gives to dimension d. See `importance_scores`.
    Informativeness is accuracy, the mean over factors. The paper itself fits lasso and random
    forests and reports errors: see `dci_linear`.

    It grows `trees` trees a class, one after the other, and is much the slowest of the metrics.

    Args:
      codes: `[N, D]` of one model; not traced.
      factors: integer classes `[N, K]`, in random order; the constant ones have no part.
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
    ensemble = require_trees()
    given = judged(codes, factors)
    if given.codes.ndim != 2:
        raise ValueError(
            f"dci grows trees on the host, for one model at a time: expected codes [N, D], found "
            f"{given.codes.shape}; dci_linear takes several"
        )
    rows = rows_to_learn_from(given.classes, train)
    z = np.asarray(given.codes, np.float64)
    importance, right = [], []
    for y in given.classes.T:
        model = ensemble.GradientBoostingClassifier(n_estimators=trees, random_state=seed)
        model.fit(z[:rows], y[:rows])
        hit = model.predict(z) == y
        importance.append(model.feature_importances_)
        right.append((hit[:rows].mean(), hit[rows:].mean()))
    matrix = jnp.asarray(np.stack(importance, axis=-1), jnp.float32)
    fit, test = jnp.asarray(np.mean(right, axis=0), jnp.float32)
    return _named(importance_scores(matrix), fit, test, given.per_factor(matrix))


def dci_linear(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    train: int | None = None,
    penalty: float = 0.02,
) -> Score:
    """DCI with the lasso, compiled (Eastwood and Williams 2018, section 2).

    R_dk = |w_dk| of a lasso from standardised codes to the standardised number of factor k's
    class, which takes class numbers for quantities: good for position and size, less so for
    shape, and an angle has a jump where it closes. Its figures are not those of `dci`. Of equal
    dimensions it uses the first, so it does not see redundancy; and of noise a few small weights
    are left, whose scores mean nothing: look at informativeness first.

    Informativeness is the share of variance explained, 1 minus the squared error over the
    variance: the paper reports the root of that ratio.

    Args:
      codes: `[..., N, D]`, of one model or several.
      factors: integer classes `[N, K]`, in random order; the constant ones have no part.
      train: rows to fit to, the first; the others test. None for two thirds.
      penalty: of ‖w‖₁, beside half the mean squared error.

    Returns:
      disentanglement, completeness, informativeness (on test rows, below 0 where the mean would
      have done better), informativeness_train `[...]`, and importance `[..., D, K]` (NaN for
      constant factors).

    Raises:
      ValueError: codes and factors do not fit, or `train` leaves too little.
    """
    given = judged(codes, factors)
    rows = rows_to_learn_from(given.classes, train)
    matrix, scores, fit, test = over_models(
        lambda z: _linear(z, jnp.asarray(given.classes), rows, penalty), given.codes
    )
    return _named(scores, fit, test, given.per_factor(matrix))


def _named(scores: tuple[jax.Array, jax.Array], fit: Any, test: Any, importance: Any) -> Score:
    return {
        "disentanglement": scores[0],
        "completeness": scores[1],
        "informativeness": test,
        "informativeness_train": fit,
        "importance": importance,
    }


@functools.partial(jax.jit, static_argnames=("rows",))
def _linear(codes: jax.Array, classes: jax.Array, rows: int, penalty: float) -> Any:
    y, z = standardised(classes.astype(codes.dtype), rows), standardised(codes, rows)
    weights = lasso(z[:rows], y[:rows], penalty)  # [D, K]
    error = jnp.square(y - z @ weights)

    def explained(rows: slice) -> jax.Array:
        spread = jnp.square(y[rows] - y[rows].mean(axis=0)[None]).mean(axis=0)
        return (1 - error[rows].mean(axis=0) / jnp.maximum(spread, 1e-12)).mean()

    matrix = jnp.abs(weights)
    parts = explained(slice(rows)), explained(slice(rows, None))
    return matrix, importance_scores(matrix), *parts
