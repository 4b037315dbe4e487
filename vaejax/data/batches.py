"""The example indices of batch number `step`: a pure function of (seed, step), without state.

Every epoch is a new permutation of the examples, cut into consecutive batches: each example occurs
exactly once per epoch, and a batch may contain the end of one epoch and the start of the next.
"""

import functools
from collections.abc import Iterator

import numpy as np

from vaejax.data.source import Source

__all__ = ["batch_indices", "eval_batches", "eval_order", "training_indices"]


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # The legacy generator's stream is frozen: every version of NumPy gives the same batches.
    order = np.random.RandomState([seed, epoch]).permutation(size).astype(np.int32)
    order.setflags(write=False)
    return order


def batch_indices(seed: int, step: int, size: int, batch_size: int) -> np.ndarray:
    """Example indices int32 `[batch_size]` of training batch `step`.

    Args:
      seed: of the permutations.
      step: number of the batch, from 0.
      size: number of examples.
      batch_size: examples per batch; may exceed `size`.
    """
    parts, position, missing = [], step * batch_size, batch_size
    while missing:
        epoch, offset = divmod(position, size)
        part = _permutation(seed, epoch, size)[offset : offset + missing]
        parts.append(part)
        position, missing = position + len(part), missing - len(part)
    return np.concatenate(parts)


def training_indices(source: Source, seed: int, step: int, batch_size: int) -> np.ndarray:
    """`batch_indices` of a training split, int32 `[batch_size]`.

    If every batch has a fixed number of labelled examples, these come first, and the others are
    without a label: each of the two goes through its own epochs.

    Raises:
      ValueError: more labelled examples than the batch has, or none to fill up the others.
    """
    if source.labelled is None:
        return batch_indices(seed, step, source.size, batch_size)
    labelled, count = source.labelled, source.labelled_per_batch
    if count > batch_size:
        raise ValueError(
            f"data.labelled_per_batch={count} is more than train.batch_size={batch_size}"
        )
    others = _complement(source)
    if not len(labelled) or (count < batch_size and not len(others)):
        kind = "labelled" if not len(labelled) else "unlabelled"
        raise ValueError(
            f"data.labelled_per_batch={count} of {batch_size}, but there are no {kind} examples in "
            f"the training split of {source.name}"
        )
    first = labelled[batch_indices(seed, step, len(labelled), count)]
    if count == batch_size:
        return first
    rest = others[batch_indices(seed, step, len(others), batch_size - count)]
    return np.concatenate([first, rest])


@functools.lru_cache(maxsize=4)
def _complement(source: Source) -> np.ndarray:
    """The indices of the examples without a label, int32, sorted."""
    assert source.labelled is not None
    return np.setdiff1d(np.arange(source.size, dtype=np.int32), source.labelled)


@functools.lru_cache(maxsize=4)
def eval_order(size: int) -> np.ndarray:
    """The order in which a split is evaluated: a permutation int32 `[size]`.

    Stored examples are often sorted, by class or by factor; any part of this order is a random
    sample of the split. It depends only on `size`, so all seeds and models are evaluated on the
    same examples.
    """
    order = np.random.RandomState(size).permutation(size).astype(np.int32)
    order.setflags(write=False)
    return order


def eval_batches(
    size: int, batch_size: int, limit: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches in `eval_order`: indices int32 `[batch_size]` and a mask bool `[batch_size]`.

    Each example occurs once where the mask is True. The last batch is padded with examples whose
    mask is False, so that all batches have one shape. The position of an example does not depend
    on the limit.

    Args:
      size: number of examples in the split.
      batch_size: examples per batch; may exceed `size`.
      limit: number of examples to evaluate; 0 for all.
    """
    order, counted = eval_order(size), min(limit, size) if limit else size
    for start in range(0, counted, batch_size):
        positions = np.arange(start, start + batch_size)
        yield order[positions % size], positions < counted
