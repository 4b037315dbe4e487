"""Which examples make up batch number `step`: a pure function of (seed, step), with no state.

Batches run through a fresh permutation of the examples each epoch, one after the other, so that
every example is seen exactly once an epoch and a batch may end one epoch and begin the next.
"""

import functools
from collections.abc import Iterator

import numpy as np


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # The legacy generator's stream is frozen: the same batches under every version of NumPy.
    order = np.random.RandomState([seed, epoch]).permutation(size).astype(np.int32)
    order.setflags(write=False)
    return order


def batch_indices(seed: int, step: int, size: int, batch_size: int) -> np.ndarray:
    """Example indices int32 `[batch_size]` of training batch `step`.

    Args:
      seed: of the permutations.
      step: number of the batch, from 0.
      size: number of examples.
      batch_size: examples a batch; may exceed `size`.
    """
    parts, position, wanted = [], step * batch_size, batch_size
    while wanted:
        epoch, offset = divmod(position, size)
        part = _permutation(seed, epoch, size)[offset : offset + wanted]
        parts.append(part)
        position, wanted = position + len(part), wanted - len(part)
    return np.concatenate(parts)


@functools.lru_cache(maxsize=4)
def eval_order(size: int) -> np.ndarray:
    """In which order a split is evaluated: a permutation int32 `[size]` of its size alone.

    Stored examples are often sorted, by class or by factor; any part of this order looks like the
    whole. It is the same for every seed and model, so all are judged on the same examples.
    """
    order = np.random.RandomState(size).permutation(size).astype(np.int32)
    order.setflags(write=False)
    return order


def eval_batches(
    size: int, batch_size: int, limit: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Examples, each once, in `eval_order`: indices int32 `[batch_size]` and which of them count.

    The last batch is filled up with examples that do not count, so that all have one shape. Which
    examples share a batch, and at which places, does not depend on the limit.

    Args:
      size: number of examples in the split.
      batch_size: examples a batch; may exceed `size`.
      limit: only this many examples; 0 for all.
    """
    order, counted = eval_order(size), min(limit, size) if limit else size
    for start in range(0, counted, batch_size):
        places = np.arange(start, start + batch_size)
        yield order[places % size], places < counted
