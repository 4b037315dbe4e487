"""Checks data against the likelihood of a model, before any training."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import jax
import numpy as np

from vaejax.core.events import EVENTS
from vaejax.core.game import Family, Params
from vaejax.core.registry import near_names
from vaejax.core.rng import key_shape
from vaejax.core.types import PyTree
from vaejax.data import Source
from vaejax.data.augment import Augmentation
from vaejax.data.preprocess import preparation
from vaejax.data.values import chunks, fields_of, range_of
from vaejax.distributions import Bernoulli, Support, category_columns, support_of
from vaejax.evaluation.evaluate import metric_names
from vaejax.training import NotFiniteError

__all__ = [
    "check_augmented",
    "check_best_metric",
    "check_support",
    "column_name",
    "naming_the_column",
    "scale_hint",
]

_AUGMENTED = 64  # examples that are augmented for a check
_LARGE = 100.0  # values beyond this make the first gradients of a network very large


def check_best_metric(
    metric: str, family: Family, params: Params, source: Source, binarize: str
) -> None:
    """Raises ValueError if evaluations have no metric of the name `train.best_metric`.

    Args:
      metric: the name.
      family: of the run.
      params: of its model, or their shapes.
      source: the split that is evaluated at checkpoints.
      binarize: as in training.
    """
    if metric == "elbo":
        return
    names = metric_names(family, params, source, binarize=binarize)
    if metric not in names:
        raise ValueError(f"train.best_metric: evaluations have no {near_names(metric, names)}")


def check_support(
    family: Family,
    params: Params,
    sources: Iterable[Source],
    binarize: str = "none",
    *,
    trained_on: str = "",
) -> None:
    """Raises ValueError if data are outside of the support of the likelihood.

    Likelihoods declare their support (`vaejax.distributions.Support`); one without is not checked,
    nor are classifiers, whose event is the label.

    Args:
      family: of the run.
      params: of its model, or their shapes.
      sources: the splits.
      binarize: as in training.
      trained_on: name of the data of a trained run, whose likelihood cannot be changed any more;
        `''` before training.
    """
    if family.model.features is not None:
        return
    sources = list(sources)
    likelihood = _likelihood(family, params, sources[0], binarize)
    _check_columns(likelihood, sources[0])
    support = support_of(likelihood)
    if support is None:
        return
    for source in dict.fromkeys(sources):
        field = _event_of(source)
        for values in _values(source, field, support, binarize):
            inside = np.broadcast_to(support.contains(values), values.shape)
            if not inside.all():
                name = _snake_case(type(_base(likelihood)).__name__)
                remedy = (
                    f"give data like those that the run was trained on, {trained_on}"
                    if trained_on
                    else support.remedy
                )
                support = support._replace(remedy=remedy)
                raise ValueError(_refusal(name, support, source, field, values, inside, binarize))


def _values(source: Source, field: str, support: Support, binarize: str) -> Iterator[np.ndarray]:
    """The values to check `[n, ...]`: of a sparse matrix all that are stored, by row."""
    if field == "vector" and source.sparse is not None:
        matrix = source.sparse.vector
        row = matrix.row_with(lambda stored: ~support.contains(stored.astype(np.float32)))
        if row is not None:
            yield matrix.dense(np.array([row])).astype(np.float32)
    yield from chunks(source, field, binarize)


def _check_columns(likelihood: PyTree, source: Source) -> None:
    """Raises ValueError if columns of categories are explained as numbers."""
    categories = [column for column in source.columns or () if column.categories]
    if not categories or category_columns(likelihood) is not None:
        return
    binary = all(len(column.categories) == 2 for column in source.columns or ())
    if binary and isinstance(_base(likelihood), Bernoulli):
        return
    name = _snake_case(type(_base(likelihood)).__name__)
    more = f" and {len(categories) - 1} more hold" if len(categories) > 1 else " holds"
    raise ValueError(
        f"column {categories[0].name!r}{more} categories in {source.name}, for which the "
        f"likelihood {name!r} is not: use model.likelihood=mixed, or leave them out with data.drop"
    )


def check_augmented(
    augment: Augmentation, family: Family, params: Params, source: Source, binarize: str = "none"
) -> None:
    """Raises ValueError if augmentation makes values outside of the support of the likelihood.

    Args:
      augment: of the training.
      family: of the run.
      params: of its model, or their shapes.
      source: of the training data, of which some examples are augmented.
      binarize: as in training.
    """
    if family.model.features is not None or not augment.changed:
        return
    support = support_of(_likelihood(family, params, source, binarize))
    if support is None:
        return
    rows = source.take(np.arange(min(_AUGMENTED, source.size)))
    prepare = jax.jit(preparation(source, binarize, augment=augment))
    field = _event_of(source)
    values = np.asarray(prepare(rows, jax.random.key(0))[field])
    inside = np.broadcast_to(support.contains(values), values.shape)
    if not inside.all():
        settings = ", ".join(f"data.augment.{k}={v}" for k, v in augment.changed.items())
        raise ValueError(
            f"the likelihood is for {support.values}, but with {settings} the {field}s of "
            f"{source.name} hold {values[~inside][0]:.9g}. Leave crop, brightness and noise off, "
            "or use a likelihood of real numbers such as 'normal'"
        )


def _likelihood(family: Family, params: Params, source: Source, binarize: str) -> PyTree:
    """p(x | z) of one example, in shapes; computes nothing."""
    prepare, rows = preparation(source, binarize), source.take(np.zeros(1, np.int32))

    def likelihood(params: Params, rows: PyTree, key: jax.Array) -> PyTree:
        return family.model.forward(params, prepare(rows, key), key, None).likelihood

    return jax.eval_shape(likelihood, params, rows, key_shape())


def _refusal(
    name: str,
    support: Support,
    source: Source,
    field: str,
    values: np.ndarray,
    inside: np.ndarray,
    binarize: str,
) -> str:
    where = tuple(np.argwhere(~inside)[0])
    column = f"{column_name(source, int(where[-1]))} of " if field == "vector" else ""
    found = range_of(source, field, binarize)
    return (
        f"the likelihood {name!r} is for {support.values}, but {column}{source.name} "
        f"({source.split} split) holds {values[where]:.9g}; the {field}s range from "
        f"{found.low:.6g} to {found.high:.6g}. {support.remedy[0].upper()}{support.remedy[1:]}"
    )


def scale_hint(source: Source) -> str:
    """Advice for a run whose steps were not finite: the column furthest from unit scale, or ''."""
    field = _event_of(source)
    if field not in ("vector", "signal"):
        return ""
    largest: PyTree = 0.0
    for values in chunks(source, field):
        magnitude = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
        largest = np.maximum(largest, magnitude)
    worst = int(np.argmax(largest))
    if not largest[worst] > _LARGE:
        return ""
    name = column_name(source, worst) if field == "vector" else f"channel {worst}"
    return (
        f"{name} of {source.name} holds values up to {largest[worst]:.6g}: rescale it, or use "
        "data.standardize=True with a likelihood of real numbers such as 'normal'"
    )


@contextmanager
def naming_the_column(source: Source) -> Iterator[None]:
    """Adds `scale_hint` to the error of a training whose steps were not finite."""
    try:
        yield
    except NotFiniteError as error:
        hint = scale_hint(source)
        if not hint:
            raise
        raise NotFiniteError(f"{error}; {hint}") from error


def column_name(source: Source, column: int) -> str:
    """As in "column 'price'", or "column 3" without names."""
    names: Sequence[str] | None = source.column_names
    return f"column {names[column]!r}" if names else f"column {column}"


def _event_of(source: Source) -> str:
    shapes = fields_of(source)
    return next(name for name in EVENTS if name in shapes)


def _base(p: PyTree) -> PyTree:
    return _base(p.base) if hasattr(p, "base") else p


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
