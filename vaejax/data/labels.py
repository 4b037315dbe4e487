"""Data of which only some examples keep their labels, for semi-supervised training."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from vaejax.data.source import Batch, Rows, Source, gather
from vaejax.data.values import fields_of

__all__ = ["choose_labelled", "with_labels"]

_CHUNK = 4096  # examples
_FIELD = "kept_label"  # of stored rows; the labels of some sources are made when they are decoded


def choose_labelled(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted indices of `count` examples, equally many of each class up to one, chosen by a seed.

    Args:
      labels: of all examples, int `[N]`; −1 for none.
      count: number of examples to choose.
      seed: of the choice.

    Raises:
      ValueError: a class has too few examples, or there are fewer than one for each class.
    """
    classes = np.unique(labels[labels >= 0])
    if count < len(classes):
        raise ValueError(
            f"data.labels={count} is fewer than the {len(classes)} classes of the data: keep at "
            "least one label of each"
        )
    random, chosen = np.random.RandomState(seed), []
    share, extra = divmod(count, len(classes))
    for i, label in enumerate(classes):
        examples, wanted = np.flatnonzero(labels == label), share + (i < extra)
        if len(examples) < wanted:
            raise ValueError(
                f"data.labels={count} needs {wanted} examples of class {label}, but there are "
                f"{len(examples)}: lower it"
            )
        chosen.append(random.permutation(examples)[:wanted])
    return np.sort(np.concatenate(chosen))


def _labels_of(source: Source) -> np.ndarray:
    """The labels of all examples, int32 `[N]`."""
    if "label" not in fields_of(source):
        raise ValueError(
            f"data.labels and data.labelled_per_batch need labels, {source.name!r} has none"
        )
    read = jax.jit(lambda rows: source.decode(rows)["label"])  # nothing else is decoded
    size = min(_CHUNK, source.size)
    chunks = [np.arange(start, start + size) % source.size for start in range(0, source.size, size)]
    labels = [np.asarray(read(source.take(chunk.astype(np.int32)))) for chunk in chunks]
    return np.concatenate(labels)[: source.size]


def _take_with(labels: np.ndarray, take: Callable[[np.ndarray], Rows], indices: np.ndarray) -> Rows:
    return {**take(indices), _FIELD: labels[indices]}


def _decode_with(decode: Callable[[Batch], Batch], rows: Batch) -> Batch:
    stored = {name: value for name, value in rows.items() if name != _FIELD}
    return {**decode(stored), "label": rows[_FIELD]}


def with_labels(source: Source, count: int = 0, per_batch: int = 0, *, seed: int = 0) -> Source:
    """A training split with −1 in place of all but `count` labels.

    Args:
      source: with labels.
      count: number of labels that are kept, balanced over the classes; 0 for all.
      per_batch: number of labelled examples in every batch of training; 0 for batches of all
        examples alike.
      seed: of the choice of labels.

    Raises:
      ValueError: the data have no labels, or too few of them.
    """
    if not count and not per_batch:
        return source
    labels = _labels_of(source)
    if count:
        kept = choose_labelled(labels, count, seed)
        hidden = np.full_like(labels, -1)
        hidden[kept] = labels[kept]
        labels = hidden
    arrays, read = source.arrays, source.read
    if arrays is not None:
        arrays = {**arrays, _FIELD: labels}
        take = functools.partial(gather, arrays)
    else:
        take = functools.partial(_take_with, labels, source.take)
        read = functools.partial(_take_with, labels, read) if read else None
    labelled = np.flatnonzero(labels >= 0).astype(np.int32) if per_batch else None
    return dataclasses.replace(
        source,
        take=take,
        read=read,
        arrays=arrays,
        decode=functools.partial(_decode_with, source.decode),
        labelled=labelled,
        labelled_per_batch=per_batch,
    )
