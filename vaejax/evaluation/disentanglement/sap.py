"""Separated attribute predictability."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from vaejax.evaluation.disentanglement.inputs import Score, judged, over_models, rows_to_learn_from
from vaejax.evaluation.disentanglement.mig import top_two_gap

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

    Mean over factors of the score of the dimension that predicts it best minus that of the second
    best. The score of a pair is, as in 1811.12359,

    - discrete: the accuracy on test rows of a linear support vector machine on this dimension
      alone (scikit-learn's `LinearSVC`: squared hinge, one class against the others, C = 0.01,
      balanced class weights, penalised bias). One threshold on a line cannot single out a middle
      class, so perfect codes of factors with many classes score far below 1;
    - continuous: the squared correlation of the dimension with the number of the class, on the
      training rows; 1 for codes that are copies of the factors.

    A constant dimension predicts one class always, or correlates with nothing. With one dimension
    the second's score is taken as 0. Constant factors have no part.

    Args:
      codes: `[..., N, D]`, of one model or several.
      factors: integer classes `[N, K]`, in random order.
      continuous: whether class numbers are quantities.
      train: rows to fit to, the first; the others test. None for two thirds.

    Returns:
      sap `[...]` and sap_per_factor `[..., K]`, NaN for constant factors.

    Raises:
      ValueError: codes and factors do not fit, or `train` leaves too little.
    """
    given = judged(codes, factors)
    rows = rows_to_learn_from(given.classes, train)

    def gaps(codes: jax.Array) -> jax.Array:
        classes = jnp.asarray(given.classes)
        if continuous:
            return top_two_gap(_squared_correlation(codes[:rows], classes[:rows]))
        return top_two_gap(_accuracy(codes, classes, rows, given.sizes))

    per_factor = over_models(gaps, given.codes)
    return {"sap": per_factor.mean(axis=-1), "sap_per_factor": given.per_factor(per_factor)}


@jax.jit
def _squared_correlation(codes: jax.Array, classes: jax.Array) -> jax.Array:
    """`[N, D], [N, K] -> [D, K]`, zero for columns that do not vary."""
    z = codes - codes.mean(axis=0)[None]
    y = classes.astype(codes.dtype)
    y = y - y.mean(axis=0)[None]
    n = len(codes)
    spread = jnp.square(z).mean(axis=0)[:, None], jnp.square(y).mean(axis=0)[None]
    correlated = (spread[0] > 1e-12) & (spread[1] > 0)
    return jnp.where(
        correlated,
        jnp.square(z.T @ y / n) / jnp.where(correlated, spread[0] * spread[1], 1.0),
        0.0,
    )


@functools.partial(jax.jit, static_argnames=("rows", "sizes"))
def _accuracy(codes: jax.Array, classes: jax.Array, rows: int, sizes: tuple[int, ...]) -> jax.Array:
    """Of `LinearSVC` on each dimension alone, on the rows after the first: `[D, K]`."""
    # One line for each pair of a factor and a class of it.
    factor = np.repeat(np.arange(len(sizes)), sizes)
    number = np.concatenate([np.arange(size) for size in sizes]).astype(np.int32)
    positive = number[:, None] == classes[:rows, factor].T  # [S, rows]
    count = positive.sum(axis=1).astype(codes.dtype)  # 0 for a class of test rows alone
    occur = [(count[factor == k] > 0).sum() for k in range(len(sizes))]
    seen = jnp.stack(occur).astype(codes.dtype)[factor]  # classes in training, [S]
    weight = _STRENGTH * rows / (seen * jnp.maximum(count, 1.0))
    # Liblinear weighs only the class itself, unless there are two and so one machine for both.
    against = jnp.where(seen == 2, _STRENGTH * rows / (2 * jnp.maximum(rows - count, 1.0)), 0.01)
    weights = jnp.where(positive, weight[:, None], against[:, None])
    targets = jnp.where(positive, 1.0, -1.0)

    def of_dimension(z: jax.Array) -> jax.Array:
        slope, bias = jax.vmap(_squared_hinge, (None, 0, 0))(z[:rows], targets, weights)  # [S]
        margins = z[rows:, None] * slope[None] + jnp.where(count > 0, bias, -jnp.inf)[None]
        scores = []
        for k in range(len(sizes)):
            guess = margins[:, factor == k].argmax(axis=1).astype(classes.dtype)
            scores.append((guess == classes[rows:, k]).mean())
        return jnp.stack(scores)

    return jax.lax.map(of_dimension, codes.T)


def _squared_hinge(x: jax.Array, target: jax.Array, weight: jax.Array) -> tuple[jax.Array, ...]:
    """The (w, b) that minimise ½(w² + b²) + Σ weight · max(0, 1 − target (w x + b))².

    Newton's method on a function that is quadratic between kinks, halving steps that go up.
    """

    def look(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The value, and Newton's step."""
        margin = 1 - target * (theta[0] * x + theta[1])
        active = jnp.where(margin > 0, weight, 0.0)
        value = 0.5 * theta @ theta + (active * margin * margin).sum()
        pull = active * margin * target
        grad = theta - 2 * jnp.stack([(pull * x).sum(), pull.sum()])
        xx, xo, oo = (active * x * x).sum(), (active * x).sum(), active.sum()
        a, b, c = 1 + 2 * xx, 2 * xo, 1 + 2 * oo
        step = jnp.stack([c * grad[0] - b * grad[1], a * grad[1] - b * grad[0]]) / (a * c - b * b)
        return value, -step

    def advance(carry: Any) -> Any:
        theta, value, step, number = carry
        tried = theta + step
        new, next_step = look(tried)
        better = new <= value
        return (
            jnp.where(better, tried, theta),
            jnp.where(better, new, value),
            jnp.where(better, next_step, 0.5 * step),
            number + 1,
        )

    def unfinished(carry: Any) -> jax.Array:
        theta, _, step, number = carry
        return (number < _STEPS) & (jnp.abs(step).max() > 1e-5 * (1e-2 + jnp.abs(theta).max()))

    start = jnp.zeros(2, x.dtype)
    theta, *_ = jax.lax.while_loop(unfinished, advance, (start, *look(start), jnp.int32(0)))
    return theta[0], theta[1]
