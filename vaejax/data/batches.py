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


def eval_batches(size: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All examples once, in order: indices int32 `[batch_size]` and which of them count.

    The last batch is filled up with examples that do not count, so that all have one shape.
    """
    for start in range(0, size, batch_size):
        indices = np.arange(start, start + batch_size, dtype=np.int32)
        yield indices % size, indices < size
