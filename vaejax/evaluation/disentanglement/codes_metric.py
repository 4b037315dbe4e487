"""What the disentanglement metrics share: when they apply, and the codes of a split."""

import abc
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from absl import logging

from vaejax.core.game import Batch, Family, Params
from vaejax.core.rng import Stream
from vaejax.data import Source
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.disentanglement.encoding import NO_FACTORS
from vaejax.evaluation.disentanglement.inputs import near_unique, num_train_rows
from vaejax.evaluation.model_shapes import vector_obstacle

__all__ = ["CodesMetric", "SplitCodes", "codes_of_split"]

_EXAMPLES = 15_000  # for the metrics of a table of codes, at most

Table = tuple[np.ndarray, np.ndarray]


class SplitCodes(NamedTuple):
    """Posterior means and factors of a split in a random order, by the protocol of 1811.12359.

    There, metrics are of all of dSprites: 10,000 samples for MIG, modularity, IRS and to train
    predictors, 5,000 to test these, and fresh samples for the β-VAE and FactorVAE scores. Here all
    examples are of the split: `train` in place of the 10,000, the rest of `table` in place of the
    5,000, and `codes` and `factors` for the two scores. `data.holdout=0` makes a split of every
    image.

    Attributes:
      codes: float32 `[N, D]`.
      factors: classes, int32 `[N, K]`, of the factors that vary among the rows to train and to
        test predictors; the others are left out, with a warning.
      key: of all random numbers.
    """

    codes: np.ndarray
    factors: np.ndarray
    key: jax.Array

    @property
    def table(self) -> Table:
        """Codes and factors of the first 15,000 examples."""
        return self.codes[:_EXAMPLES], self.factors[:_EXAMPLES]

    @property
    def train(self) -> Table:
        """The first two thirds of `table`."""
        codes, factors = self.table
        rows = num_train_rows(factors, None)
        return codes[:rows], factors[:rows]


@functools.lru_cache(maxsize=1)  # shared by the metrics of one evaluation
def codes_of_split(context: EvaluationContext) -> SplitCodes:
    """The posterior means and factors of a split.

    Args:
      context: a model with one continuous vector, and a split with factors.
    """

    def encode(params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        (node,) = context.family.model.encode(params, batch, key)
        return node.posterior.mean, batch["factors"]

    codes, factors = context.rows_of_split(encode, Stream.DISENTANGLEMENT)
    split = SplitCodes(codes, factors, context.key(Stream.DISENTANGLEMENT))
    table, rows = split.table[1], len(split.train[1])
    parts = table[:rows], table[rows:]
    kept = np.all([part.min(axis=0) < part.max(axis=0) for part in parts], axis=0)
    if not kept.all():
        names = context.source.factor_names or tuple(f"factor {k}" for k in range(len(kept)))
        left_out = ", ".join(name for name, keep in zip(names, kept, strict=True) if not keep)
        logging.warning(
            "disentanglement metrics leave out %s: constant in one of the two parts of the split "
            "(%d and %d examples) in which predictors are trained and tested",
            left_out, *map(len, parts),
        )  # fmt: skip
    return split._replace(factors=factors[:, kept])


class CodesMetric(abc.ABC):
    """A metric of the codes and the factors of a split; subclasses give `scores`."""

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: no factors, or latents other than one continuous vector."""
        if not source.factor_sizes:
            return NO_FACTORS.format(source.name)
        if sum(size > 1 for size in source.factor_sizes) < 2:
            return (
                f"disentanglement metrics need at least two factors that vary; those of "
                f"{source.name!r} have {source.factor_sizes} classes"
            )
        for k, size in enumerate(source.factor_sizes):
            if near_unique(size, source.size):
                name = source.factor_names[k] if source.factor_names else f"factor {k}"
                return (
                    f"{name} of {source.name!r} has {size} classes among {source.size} examples: "
                    "bin a continuous factor into about 10 classes"
                )
        return vector_obstacle(family, source)

    @abc.abstractmethod
    def scores(self, split: SplitCodes) -> Mapping[str, jax.Array | float]:
        """The named scores of a split."""

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The named scores of a split; none where fewer than two factors vary in it."""
        split = codes_of_split(context)
        if split.factors.shape[1] < 2:
            return {}
        return {name: float(v) for name, v in self.scores(split).items()}
