"""FactorVAE score and β-VAE score, from sets of examples that share one factor."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from vaejax.core.registry import register
from vaejax.data import Source
from vaejax.evaluation.disentanglement.codes_metric import CodesMetric, SplitCodes
from vaejax.evaluation.disentanglement.encoding import Encode, encode_split
from vaejax.evaluation.disentanglement.factor_sampling import (
    FactorIndex,
    index_by_factor,
    sample_with_class,
)
from vaejax.evaluation.disentanglement.inputs import Score, checked_inputs, over_models
from vaejax.evaluation.disentanglement.logistic import logistic_regression

__all__ = [
    "BetaVAEScore",
    "FactorVAEScore",
    "beta_vae_score",
    "beta_vae_score_of_codes",
    "factor_vae_score",
    "factor_vae_score_of_codes",
]

_SETS_AT_ONCE = 500  # sets whose codes are in memory together


def factor_vae_score(encode: Encode, source: Source, key: jax.Array, **options: Any) -> Score:
    """FactorVAE score of an encoder on a split: `factor_vae_score_of_codes` of all its examples.

    Every example is encoded once; sets of examples that share a factor are subsets of these codes.

    Args:
      encode: batch -> codes `[B, D]`, see `encode_split`.
      source: the split, with factors.
      key: of all random numbers.
      **options: of `factor_vae_score_of_codes`.

    Raises:
      ValueError: the source has no factors.
    """
    codes, factors = encode_split(encode, source, key)
    return factor_vae_score_of_codes(codes, factors, key, **options)


def beta_vae_score(encode: Encode, source: Source, key: jax.Array, **options: Any) -> Score:
    """β-VAE score of an encoder on a split: `beta_vae_score_of_codes` of all its examples.

    Args:
      encode: batch -> codes `[B, D]`, see `encode_split`.
      source: the split, with factors.
      key: of all random numbers.
      **options: of `beta_vae_score_of_codes`.

    Raises:
      ValueError: the source has no factors.
    """
    codes, factors = encode_split(encode, source, key)
    return beta_vae_score_of_codes(codes, factors, key, **options)


def factor_vae_score_of_codes(
    codes: ArrayLike,
    factors: ArrayLike,
    key: jax.Array,
    *,
    samples: int = 64,
    train_votes: int = 10_000,
    eval_votes: int = 5_000,
    prune: float = 0.05,
) -> Score:
    """FactorVAE score (Kim and Mnih, 1802.05983, section 4): accuracy of a majority vote.

    A vote: of L examples that share the class of a random factor, the dimension with the smallest
    variance relative to its variance in all data. Dimensions whose standard deviation is below
    `prune` are left out. The classifier maps each dimension to the factor of most of its training
    votes; the score is its accuracy on other votes. The class is that of a random example.

    Chance is 1 / K. A rotation of less than 45° may leave the score at 1, since only the smallest
    variance matters. Constant factors are left out. If no dimension is left the score is 0.

    Args:
      codes: `[..., N, D]` of all examples of a split, of one model or several. If the split holds
        every combination of factors, examples are sampled as in the paper.
      factors: integer classes `[N, K]`.
      key: of the samples, the same for all models.
      samples: L.
      train_votes: for the classifier.
      eval_votes: for its accuracy.
      prune: standard deviation below which a dimension is left out.

    Returns:
      factor_vae_score and factor_vae_score_train, accuracies on the evaluation and the training
      votes, and dimensions, the number that is not left out; `[...]` each.

    Raises:
      ValueError: codes and factors do not fit, or fewer than two samples.
    """
    if samples < 2:
        raise ValueError(f"a variance needs at least two samples, found samples={samples}")
    inputs = checked_inputs(codes, factors)
    votes = _positive(train_votes=train_votes, eval_votes=eval_votes)
    index = index_by_factor(inputs.classes)

    def of_model(codes: jax.Array) -> tuple[jax.Array, ...]:
        return _votes(codes, index, key, samples, votes, prune)

    train, test, dimensions = over_models(of_model, inputs.codes)
    return {"factor_vae_score": test, "factor_vae_score_train": train, "dimensions": dimensions}


@functools.partial(jax.jit, static_argnames=("samples", "votes"))
def _votes(
    codes: jax.Array,
    index: FactorIndex,
    key: jax.Array,
    samples: int,
    votes: tuple[int, int],
    prune: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    variance = codes.var(axis=0, ddof=1)
    kept = (jnp.sqrt(variance) >= prune) & (variance > 0)
    n, n_factors = index.classes.shape
    factor_key, class_key, key = jax.random.split(key, 3)
    number = sum(votes)
    factor = jax.random.randint(factor_key, (number,), 0, n_factors)
    classes = index.classes[jax.random.randint(class_key, (number,), 0, n), factor]
    shape = number, samples
    shared = (jnp.broadcast_to(a[:, None], shape) for a in (factor, classes))
    sets = sample_with_class(index, key, *shared)

    def vote(indices: jax.Array) -> jax.Array:
        within = codes[indices].var(axis=0, ddof=1)
        return jnp.where(kept, within / jnp.where(kept, variance, 1.0), jnp.inf).argmin()

    winner = jax.lax.map(vote, sets, batch_size=_SETS_AT_ONCE).astype(jnp.int32)

    def vote_counts(part: slice) -> jax.Array:
        """Votes for dimension d when factor k was shared: int32 `[D, K]`."""
        cell = winner[part] * n_factors + factor[part]
        size = codes.shape[1] * n_factors
        return jax.ops.segment_sum(jnp.ones_like(cell), cell, size).reshape(-1, n_factors)

    train, test = vote_counts(slice(votes[0])), vote_counts(slice(votes[0], None))
    majority = train.argmax(axis=1)
    correct = jnp.take_along_axis(test, majority[:, None], axis=1).sum()
    accuracies = (train.max(axis=1).sum() / votes[0], correct / votes[1])
    fit, score = (jnp.where(kept.any(), a.astype(codes.dtype), 0.0) for a in accuracies)
    return fit, score, kept.sum()


def beta_vae_score_of_codes(
    codes: ArrayLike,
    factors: ArrayLike,
    key: jax.Array,
    *,
    samples: int = 64,
    train_points: int = 10_000,
    eval_points: int = 5_000,
) -> Score:
    """β-VAE score (Higgins et al. 2017, section 3): accuracy of predicting the shared factor.

    A point: the mean over L pairs of |z_1 − z_2|, where the examples of each pair share the class
    of one random factor, the same factor for all pairs. The score is the accuracy on other points
    of a linear classifier from point to factor: as in 1811.12359 scikit-learn's default logistic
    regression; the paper does not specify one.

    Chance is 1 / K. The score is 1 for all codes in which each factor is spread differently over
    dimensions, including rotated ones. Constant factors are left out.

    Args:
      codes: `[..., N, D]` of all examples of a split, of one model or several. If the split holds
        every combination of factors, examples are sampled as in the paper.
      factors: integer classes `[N, K]`.
      key: of the samples, the same for all models.
      samples: L.
      train_points: for the classifier.
      eval_points: for its accuracy.

    Returns:
      beta_vae_score and beta_vae_score_train, accuracies on the evaluation and the training
      points, `[...]` each.

    Raises:
      ValueError: codes and factors do not fit, or fewer than two factors vary.
    """
    inputs = checked_inputs(codes, factors)
    if len(inputs.sizes) < 2:
        raise ValueError("the β-VAE score classifies factors: at least two must vary, found one")
    points = _positive(train_points=train_points, eval_points=eval_points)
    index = index_by_factor(inputs.classes)
    train, test = over_models(lambda z: _points(z, index, key, samples, points), inputs.codes)
    return {"beta_vae_score": test, "beta_vae_score_train": train}


@functools.partial(jax.jit, static_argnames=("samples", "points"))
def _points(
    codes: jax.Array, index: FactorIndex, key: jax.Array, samples: int, points: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    n, n_factors = index.classes.shape
    factor_key, first_key, second_key = jax.random.split(key, 3)
    shape = sum(points), samples
    y = jax.random.randint(factor_key, shape[:1], 0, n_factors)
    factor = jnp.broadcast_to(y[:, None], shape)
    first = jax.random.randint(first_key, shape, 0, n)
    second = sample_with_class(index, second_key, factor, index.classes[first, factor])

    def point(pairs: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.abs(codes[pairs[0]] - codes[pairs[1]]).mean(axis=0)

    x = jax.lax.map(point, (first, second), batch_size=_SETS_AT_ONCE)
    fitted = logistic_regression(x[: points[0]], y[: points[0]], n_factors, n_factors)
    correct = fitted.logits(x).argmax(axis=1).astype(y.dtype) == y
    return correct[: points[0]].mean(), correct[points[0] :].mean()


def _positive(**numbers: int) -> tuple[int, ...]:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, found {value}")
    return tuple(numbers.values())


@register("metric", "factor_vae_score")
class FactorVAEScore(CodesMetric):
    """`factor_vae_score`: see `factor_vae_score_of_codes`."""

    def scores(self, split: SplitCodes) -> Mapping[str, jax.Array | float]:
        """The score of a split."""
        key = jax.random.split(split.key)[0]
        scores = factor_vae_score_of_codes(split.codes, split.factors, key)
        return {"factor_vae_score": scores["factor_vae_score"]}


@register("metric", "beta_vae_score")
class BetaVAEScore(CodesMetric):
    """`beta_vae_score`: see `beta_vae_score_of_codes`."""

    def scores(self, split: SplitCodes) -> Mapping[str, jax.Array | float]:
        """The score of a split."""
        key = jax.random.split(split.key)[1]
        scores = beta_vae_score_of_codes(split.codes, split.factors, key)
        return {"beta_vae_score": scores["beta_vae_score"]}
