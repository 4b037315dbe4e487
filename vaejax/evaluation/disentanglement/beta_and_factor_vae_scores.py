"""FactorVAE score and β-VAE score: sets of examples in which one factor is held."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from vaejax.data import Source
from vaejax.evaluation.disentanglement.encoding import Encode, encode_split
from vaejax.evaluation.disentanglement.factor_sampling import ByFactors, by_factors, draw_alike
from vaejax.evaluation.disentanglement.inputs import Score, judged, over_models
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
    alive = (jnp.sqrt(spread) >= prune) & (spread > 0)
    n, n_factors = examples.classes.shape
    factor_key, class_key, key = jax.random.split(key, 3)
    number = sum(votes)
    factor = jax.random.randint(factor_key, (number,), 0, n_factors)
    held = examples.classes[jax.random.randint(class_key, (number,), 0, n), factor]
    shape = number, samples
    sets = draw_alike(examples, key, *(jnp.broadcast_to(a[:, None], shape) for a in (factor, held)))

    def vote(indices: jax.Array) -> jax.Array:
        part = codes[indices].var(axis=0, ddof=1)
        return jnp.where(alive, part / jnp.where(alive, spread, 1.0), jnp.inf).argmin()

    winner = jax.lax.map(vote, sets, batch_size=_AT_ONCE).astype(jnp.int32)

    def ballot(part: slice) -> jax.Array:
        """How often dimension d won when factor k was held: int32 `[D, K]`."""
        cell = winner[part] * n_factors + factor[part]
        size = codes.shape[1] * n_factors
        return jax.ops.segment_sum(jnp.ones_like(cell), cell, size).reshape(-1, n_factors)

    train, test = ballot(slice(votes[0])), ballot(slice(votes[0], None))
    chosen = train.argmax(axis=1)
    right = jnp.take_along_axis(test, chosen[:, None], axis=1).sum()
    accuracies = (train.max(axis=1).sum() / votes[0], right / votes[1])
    fit, score = (jnp.where(alive.any(), a.astype(codes.dtype), 0.0) for a in accuracies)
    return fit, score, alive.sum()


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
    n, n_factors = examples.classes.shape
    factor_key, one_key, other_key = jax.random.split(key, 3)
    shape = sum(points), samples
    y = jax.random.randint(factor_key, shape[:1], 0, n_factors)
    factor = jnp.broadcast_to(y[:, None], shape)
    one = jax.random.randint(one_key, shape, 0, n)
    other = draw_alike(examples, other_key, factor, examples.classes[one, factor])

    def point(pairs: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.abs(codes[pairs[0]] - codes[pairs[1]]).mean(axis=0)

    x = jax.lax.map(point, (one, other), batch_size=_AT_ONCE)
    fitted = logistic_regression(x[: points[0]], y[: points[0]], n_factors, n_factors)
    right = fitted.logits(x).argmax(axis=1).astype(y.dtype) == y
    return right[: points[0]].mean(), right[points[0] :].mean()


def _sizes(**sizes: int) -> tuple[int, ...]:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, found {value}")
    return tuple(sizes.values())
