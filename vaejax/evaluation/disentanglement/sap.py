"""Separated attribute predictability."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from vaejax.core.registry import register
from vaejax.core.types import PyTree
from vaejax.evaluation.disentanglement.codes_metric import CodesMetric, SplitCodes
from vaejax.evaluation.disentanglement.inputs import (
    Score,
    checked_inputs,
    over_models,
    split_rows,
)
from vaejax.evaluation.disentanglement.mig import top_two_gap

__all__ = ["SAP", "sap"]

_STRENGTH = 0.01  # C of the support vector machine, as in 1811.12359
_STEPS = 50


def sap(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    continuous: bool = False,
    train: int | None = None,
) -> Score:
    """SAP score (Kumar et al., 1711.00848, section 3): the gap between the two best predictors.

    Mean over factors of the score of the best predicting dimension minus that of the second best.
    The score of a dimension and a factor is, as in 1811.12359,

    - discrete: the accuracy on test rows of a linear support vector machine on this dimension
      alone (scikit-learn's `LinearSVC`: squared hinge, one class against the others, C = 0.01,
      balanced class weights, penalised bias). A single threshold cannot separate a middle class
      from both sides, so ideal codes of factors with many classes score far below 1;
    - continuous: the squared correlation of the dimension with the class number, on the training
      rows; 1 for codes that are copies of the factors.

    A constant dimension always predicts the same class, and has correlation 0. With a single
    dimension the second best score is taken as 0. Constant factors are left out.

    Args:
      codes: `[..., N, D]`, of one model or several.
      factors: integer classes `[N, K]`, in random order.
      continuous: whether class numbers are values of a continuous quantity.
      train: rows to fit to, the first; the others test. None for two thirds.

    Returns:
      sap `[...]` and sap_per_factor `[..., K]`, NaN for constant factors.

    Raises:
      ValueError: codes and factors do not fit, or `train` leaves too little.
    """
    inputs, rows = split_rows(checked_inputs(codes, factors), train)

    def gaps(codes: jax.Array) -> jax.Array:
        classes = jnp.asarray(inputs.classes)
        if continuous:
            return top_two_gap(_squared_correlation(codes[:rows], classes[:rows]))
        return top_two_gap(_accuracy(codes, classes, rows, inputs.sizes))

    per_factor = over_models(gaps, inputs.codes)
    return {"sap": per_factor.mean(axis=-1), "sap_per_factor": inputs.per_factor(per_factor)}


@jax.jit
def _squared_correlation(codes: jax.Array, classes: jax.Array) -> jax.Array:
    """`[N, D], [N, K] -> [D, K]`, zero for constant columns."""
    z = codes - codes.mean(axis=0)[None]
    y = classes.astype(codes.dtype)
    y = y - y.mean(axis=0)[None]
    n = len(codes)
    variance = jnp.square(z).mean(axis=0)[:, None], jnp.square(y).mean(axis=0)[None]
    defined = (variance[0] > 1e-12) & (variance[1] > 0)
    return jnp.where(
        defined,
        jnp.square(z.T @ y / n) / jnp.where(defined, variance[0] * variance[1], 1.0),
        0.0,
    )


@functools.partial(jax.jit, static_argnames=("rows", "sizes"))
def _accuracy(codes: jax.Array, classes: jax.Array, rows: int, sizes: tuple[int, ...]) -> jax.Array:
    """Test accuracy of `LinearSVC` on each dimension alone, `[D, K]`."""
    # S binary problems: one for each class of each factor.
    factor = np.repeat(np.arange(len(sizes)), sizes)
    number = np.concatenate([np.arange(size) for size in sizes]).astype(np.int32)
    positive = number[:, None] == classes[:rows, factor].T  # [S, rows]
    count = positive.sum(axis=1).astype(codes.dtype)  # 0 for a class that only test rows have
    occurring = [(count[factor == k] > 0).sum() for k in range(len(sizes))]
    train_classes = jnp.stack(occurring).astype(codes.dtype)[factor]  # [S]
    positive_weight = _STRENGTH * rows / (train_classes * jnp.maximum(count, 1.0))
    # Liblinear weights only the class itself, unless there are two classes, which share a machine.
    balanced = _STRENGTH * rows / (2 * jnp.maximum(rows - count, 1.0))
    negative_weight = jnp.where(train_classes == 2, balanced, 0.01)
    weights = jnp.where(positive, positive_weight[:, None], negative_weight[:, None])
    targets = jnp.where(positive, 1.0, -1.0)

    def of_dimension(z: jax.Array) -> jax.Array:
        slope, bias = jax.vmap(_squared_hinge, (None, 0, 0))(z[:rows], targets, weights)  # [S]
        margins = z[rows:, None] * slope[None] + jnp.where(count > 0, bias, -jnp.inf)[None]
        scores = []
        for k in range(len(sizes)):
            predicted = margins[:, factor == k].argmax(axis=1).astype(classes.dtype)
            scores.append((predicted == classes[rows:, k]).mean())
        return jnp.stack(scores)

    return jax.lax.map(of_dimension, codes.T)


def _squared_hinge(x: jax.Array, target: jax.Array, weight: jax.Array) -> tuple[jax.Array, ...]:
    """The (w, b) that minimise ½(w² + b²) + Σ weight · max(0, 1 − target (w x + b))².

    Newton's method on this piecewise quadratic function; steps that increase it are halved.
    """

    def value_and_step(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The value, and Newton's step."""
        margin = 1 - target * (theta[0] * x + theta[1])
        active = jnp.where(margin > 0, weight, 0.0)
        value = 0.5 * theta @ theta + (active * margin * margin).sum()
        residual = active * margin * target
        grad = theta - 2 * jnp.stack([(residual * x).sum(), residual.sum()])
        # The Hessian [[a, b], [b, c]].
        a, b = 1 + 2 * (active * x * x).sum(), 2 * (active * x).sum()
        c = 1 + 2 * active.sum()
        step = jnp.stack([c * grad[0] - b * grad[1], a * grad[1] - b * grad[0]]) / (a * c - b * b)
        return value, -step

    def advance(carry: PyTree) -> PyTree:
        theta, value, step, number = carry
        proposal = theta + step
        new, next_step = value_and_step(proposal)
        accept = new <= value
        return (
            jnp.where(accept, proposal, theta),
            jnp.where(accept, new, value),
            jnp.where(accept, next_step, 0.5 * step),
            number + 1,
        )

    def unfinished(carry: PyTree) -> jax.Array:
        theta, _, step, number = carry
        return (number < _STEPS) & (jnp.abs(step).max() > 1e-5 * (1e-2 + jnp.abs(theta).max()))

    start = jnp.zeros(2, x.dtype)
    carry = (start, *value_and_step(start), jnp.int32(0))
    theta, *_ = jax.lax.while_loop(unfinished, advance, carry)
    return theta[0], theta[1]


@register("metric", "sap")
class SAP(CodesMetric):
    """`sap`, the separated attribute predictability: see `sap`."""

    def scores(self, split: SplitCodes) -> Mapping[str, jax.Array | float]:
        """The score of a split."""
        return {"sap": sap(*split.table)["sap"]}
