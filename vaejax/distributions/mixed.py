"""Rows of a table, each column with its own density: real numbers and categories side by side."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.distribution import STATIC, Capabilities, Distribution
from vaejax.distributions.elementary import Categorical
from vaejax.distributions.support import Support

__all__ = ["Mixed", "category_columns", "from_features", "num_features", "one_hot", "one_hot_mask"]

_Groups = tuple[tuple[int, np.ndarray], ...]


@functools.lru_cache(maxsize=64)
def _groups(classes: tuple[int, ...]) -> _Groups:
    """The positions of the columns of each number of classes, fewest classes first; 0 apart."""
    counts = np.array(classes)
    return tuple((int(k), np.flatnonzero(counts == k)) for k in np.unique(counts) if k)


@functools.lru_cache(maxsize=64)
def _numbers(classes: tuple[int, ...]) -> np.ndarray:
    """The positions of the columns of real numbers."""
    return np.flatnonzero(np.array(classes) == 0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mixed:
    """Independent columns: real numbers, and classes as the float32 0, 1, 2, ...

    `log_prob` of a column is a log-density or a log-probability, so the sum over a row is the sum
    of the log-probabilities of separate likelihoods.

    Attributes:
      numbers: density of the columns of real numbers, `[B, N]`.
      categories: one distribution for each number of classes K that occurs, in increasing order,
        over the columns that have it, logits `[B, columns, K]`.
      classes: number of classes of each of the D columns; 0 for real numbers.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()

    numbers: Distribution
    categories: tuple[Categorical, ...]
    classes: tuple[int, ...] = dataclasses.field(metadata=STATIC)

    @property
    def support(self) -> Support:
        counts = np.array(self.classes)

        def contains(x: np.ndarray) -> np.ndarray:
            is_class = (x >= 0) & (x < counts) & (x == np.floor(x))
            inside: np.ndarray = np.where(counts > 0, is_class, np.isfinite(x))
            return inside

        return Support(
            "numbers, and classes from 0 in columns of categories",
            contains,
            "remove NaN and Inf, and give the classes that the model has",
            real=True,  # units of columns of categories are the identity
        )

    def _in_order(self, numbers: jax.Array, categories: Sequence[jax.Array]) -> jax.Array:
        """Values of the columns of each kind as values `[B, D]` in the order of the table."""
        positions = [_numbers(self.classes), *(at for _, at in _groups(self.classes))]
        order = np.argsort(np.concatenate(positions))
        parts = [numbers, *(part.astype(numbers.dtype) for part in categories)]
        return jnp.concatenate(parts, axis=-1)[..., order]

    @property
    def mean(self) -> jax.Array:
        """The means of numbers, and the most likely class of categories, `[B, D]`."""
        return self._in_order(self.numbers.mean, [p.indices for p in self.categories])

    def sample(self, key: jax.Array) -> jax.Array:
        """A sample of a whole row, `[B, D]`."""
        keys = jax.random.split(key, 1 + len(self.categories))
        parts = [p.sample(k) for p, k in zip(self.categories, keys[1:], strict=True)]
        return self._in_order(self.numbers.sample(keys[0]), parts)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p of each column, nats `[B, D]`; NaN for a number that is no class of its column."""
        numbers = self.numbers.log_prob(x[..., _numbers(self.classes)])
        parts = [
            p.log_prob(x[..., at].astype(jnp.int32))
            for p, (_, at) in zip(self.categories, _groups(self.classes), strict=True)
        ]
        return self._in_order(numbers, parts)


def num_features(classes: tuple[int, ...], per_number: int) -> int:
    """The number of features from which `from_features` makes a distribution.

    Args:
      classes: of each column; 0 for real numbers.
      per_number: features of a column of real numbers.
    """
    of_categories = sum(len(at) * (1 if k == 2 else k) for k, at in _groups(classes))
    return per_number * len(_numbers(classes)) + of_categories


def from_features(
    features: jax.Array,
    classes: tuple[int, ...],
    per_number: int,
    density: Callable[[jax.Array], Distribution],
) -> Mixed:
    """A distribution of rows from features `[..., num_features]`.

    They are those of the numbers, then the logits of the categories, fewest classes first: one for
    two classes, the log-odds of the second, as of a Bernoulli variable; else one for each class.

    Args:
      features: see above.
      classes: of each column; 0 for real numbers.
      per_number: features of a column of real numbers.
      density: the first features -> the density of the numbers.
    """
    start = per_number * len(_numbers(classes))
    numbers, categories = density(features[..., :start]), []
    for k, at in _groups(classes):
        stop = start + len(at) * (1 if k == 2 else k)
        logits = features[..., start:stop].reshape(*features.shape[:-1], len(at), -1)
        if k == 2:
            logits = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
        categories.append(Categorical(logits))
        start = stop
    return Mixed(numbers, tuple(categories), classes)


def one_hot(classes: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
    """The function rows `[B, D] -> [B, E]` with one-hot values in place of classes.

    Numbers come first; two classes stay one value, 0 or 1. Between two classes, where the
    pseudo-inputs of a prior can lie, one-hot values are interpolated linearly.
    """

    def transform(x: jax.Array) -> jax.Array:
        parts = [x[..., _numbers(classes)]]
        for k, at in _groups(classes):
            if k == 2:
                parts.append(x[..., at])
                continue
            distance = jnp.abs(x[..., at][..., None] - jnp.arange(k, dtype=x.dtype)[None, None])
            hat = jnp.maximum(1.0 - distance, 0.0)
            parts.append(hat.reshape(*x.shape[:-1], len(at) * k))
        return jnp.concatenate(parts, axis=-1)

    return transform


def one_hot_mask(classes: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
    """The function from the mask of rows, bool `[B, D]`, to that of their one-hot values."""
    positions = [_numbers(classes)]
    positions += [np.repeat(at, 1 if k == 2 else k) for k, at in _groups(classes)]
    order = np.concatenate(positions)
    return lambda mask: mask[..., order]


def category_columns(distribution: Any) -> np.ndarray | None:
    """Which columns of a `Mixed` distribution, or one in other units or masked, are categories.

    bool `[D]`; None for any other distribution.
    """
    if isinstance(distribution, Mixed):
        return np.array(distribution.classes) > 0
    return category_columns(distribution.base) if hasattr(distribution, "base") else None
