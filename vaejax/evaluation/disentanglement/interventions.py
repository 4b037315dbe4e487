"""FactorVAE score and β-VAE score: sets of examples in which one factor is held."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from vaejax.data import Source
from vaejax.data.by_factors import ByFactors, by_factors, draw_alike
from vaejax.evaluation.disentanglement.arrays import Score, judged, over_models
from vaejax.evaluation.disentanglement.encoding import Encode, encode_split
from vaejax.evaluation.disentanglement.logistic import logistic_regression

_AT_ONCE = 500  # sets whose codes are held together


def factor_vae_score(encode: Encode, source: Source, key: jax.Array, **options: Any) -> Score:
    """FactorVAE score of an encoder on a split: `factor_vae_score_of_codes` of all its examples.

    Every example is encoded once; a set of examples that share a factor is then a choice of codes.

    Args:
      encode: batch -> codes `[B, D]`, see `encode_split`.
      source: the split, with factors.
      key: of all draws.
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
      key: of all draws.
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
    """FactorVAE score (Kim and Mnih, 1802.05983, section 4): who varies least says who is held.

    A vote: of L examples that share the class of a random factor, the dimension with the smallest
    variance over its variance in all data. Dimensions whose standard deviation is below `prune`
    have no vote. The classifier maps each dimension to the factor that most training votes for it
    had; the score is its accuracy on other votes. The class is that of a random example.

    Chance is 1 / K. A rotation of less than 45° may leave the score at 1: only the least variance
    matters. Constant factors are not held. If no dimension is left the score is 0.

    Args:
      codes: `[..., N, D]` of all examples of a split, of one model or several. Where the split
        holds every combination of factors, draws are those of the paper.
      factors: integer classes `[N, K]`.
      key: of the draws, the same for all models.
      samples: L.
      train_votes: for the classifier.
      eval_votes: to judge it by.
      prune: standard deviation below which a dimension is left out.

    Returns:
      factor_vae_score and factor_vae_score_train, accuracies on the evaluation and the training
      votes, and dimensions, those that voted; `[...]` each.

    Raises:
      ValueError: codes and factors do not fit, or fewer than two samples.
    """
    if samples < 2:
        raise ValueError(f"a variance needs at least two samples, found samples={samples}")
    given = judged(codes, factors)
    votes = _sizes(train_votes=train_votes, eval_votes=eval_votes)
    examples = by_factors(given.classes)

    def of_model(codes: jax.Array) -> tuple[jax.Array, ...]:
        return _votes(codes, examples, key, samples, votes, prune)

    train, test, alive = over_models(of_model, given.codes)
    return {"factor_vae_score": test, "factor_vae_score_train": train, "dimensions": alive}


@functools.partial(jax.jit, static_argnames=("samples", "votes"))
def _votes(
    codes: jax.Array,
    examples: ByFactors,
    key: jax.Array,
    samples: int,
    votes: tuple[int, int],
    prune: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    spread = codes.var(axis=0, ddof=1)
    alive = jnp.sqrt(spread) >= prune
    n_factors = examples.classes.shape[1]

    def vote(key: jax.Array, factor: jax.Array, first: jax.Array) -> jax.Array:
        held = jnp.full(samples, examples.classes[first, factor])
        part = codes[draw_alike(examples, key, factor, held)].var(axis=0, ddof=1)
        return jnp.where(alive, part / jnp.where(alive, spread, 1.0), jnp.inf).argmin()

    def ballot(key: jax.Array, number: int) -> jax.Array:
        """How often dimension d won when factor k was held: `[D, K]`."""
        factor, winner = _for_random_factors(vote, examples, key, number)
        cell = winner.astype(jnp.int32) * n_factors + factor
        size = codes.shape[1] * n_factors
        return jax.ops.segment_sum(jnp.ones_like(cell), cell, size).reshape(-1, n_factors)

    train_key, test_key = jax.random.split(key)
    train, test = ballot(train_key, votes[0]), ballot(test_key, votes[1])
    chosen = train.argmax(axis=1)
    right = jnp.take_along_axis(test, chosen[:, None], axis=1).sum()
    none = ~alive.any()
    accuracies = (train.max(axis=1).sum() / votes[0], right / votes[1])
    train_score, score = (jnp.where(none, 0.0, a.astype(codes.dtype)) for a in accuracies)
    return train_score, score, alive.sum()


def beta_vae_score_of_codes(
    codes: ArrayLike,
    factors: ArrayLike,
    key: jax.Array,
    *,
    samples: int = 64,
    train_points: int = 10_000,
    eval_points: int = 5_000,
) -> Score:
    """β-VAE score (Higgins et al. 2017, section 3): a linear rule tells which factor is shared.

    A point: the mean over L pairs of |z_1 − z_2|, where the examples of each pair share the class
    of one random factor, the same factor for all pairs. The score is the accuracy on other points
    of a linear classifier from point to factor: as in 1811.12359 scikit-learn's default logistic
    regression, where the paper names none.

    Chance is 1 / K. It is 1 already for codes in which each factor is spread differently over
    dimensions, rotated ones among them. Constant factors are not held.

    Args:
      codes: `[..., N, D]` of all examples of a split, of one model or several. Where the split
        holds every combination of factors, draws are those of the paper.
      factors: integer classes `[N, K]`.
      key: of the draws, the same for all models.
      samples: L.
      train_points: for the classifier.
      eval_points: to judge it by.

    Returns:
      beta_vae_score and beta_vae_score_train, accuracies on the evaluation and the training
      points, `[...]` each.

    Raises:
      ValueError: codes and factors do not fit, or fewer than two factors vary.
    """
    given = judged(codes, factors)
    if len(given.sizes) < 2:
        raise ValueError("the β-VAE score tells factors apart: at least two must vary, found one")
    points = _sizes(train_points=train_points, eval_points=eval_points)
    examples = by_factors(given.classes)
    train, test = over_models(lambda z: _points(z, examples, key, samples, points), given.codes)
    return {"beta_vae_score": test, "beta_vae_score_train": train}


@functools.partial(jax.jit, static_argnames=("samples", "points"))
def _points(
    codes: jax.Array, examples: ByFactors, key: jax.Array, samples: int, points: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    n_factors = examples.classes.shape[1]

    def point(key: jax.Array, factor: jax.Array, first: jax.Array) -> jax.Array:
        del first  # each pair has a class of its own
        one_key, other_key = jax.random.split(key)
        one = jax.random.randint(one_key, (samples,), 0, len(codes))
        other = draw_alike(examples, other_key, factor, examples.classes[one, factor])
        return jnp.abs(codes[one] - codes[other]).mean(axis=0)

    (y, x), (test_y, test_x) = (
        _for_random_factors(point, examples, k, number)
        for k, number in zip(jax.random.split(key), points, strict=True)
    )
    fitted = logistic_regression(x, y, n_factors, n_factors)

    def accuracy(x: jax.Array, y: jax.Array) -> jax.Array:
        return (fitted.logits(x).argmax(axis=1).astype(y.dtype) == y).mean()

    return accuracy(x, y), accuracy(test_x, test_y)


def _for_random_factors(
    look: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    examples: ByFactors,
    key: jax.Array,
    number: int,
) -> tuple[jax.Array, jax.Array]:
    """Random factors int32 `[number]`, and `look(key, factor, random example)` for each."""
    factor_key, first_key, key = jax.random.split(key, 3)
    n, k = examples.classes.shape
    factor = jax.random.randint(factor_key, (number,), 0, k)
    first = jax.random.randint(first_key, (number,), 0, n)
    keys = jax.random.split(key, number)
    seen = jax.lax.map(lambda each: look(*each), (keys, factor, first), batch_size=_AT_ONCE)
    return factor, seen


def _sizes(**sizes: int) -> tuple[int, ...]:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, found {value}")
    return tuple(sizes.values())
