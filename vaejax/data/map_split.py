"""One compiled function applied to every batch of a split."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import NamedSharding

from vaejax.core.sharding import own_positions, put_own
from vaejax.core.types import PyTree
from vaejax.data.batches import eval_batches, eval_order
from vaejax.data.progress import progress
from vaejax.data.source import Source

__all__ = ["in_stored_order", "map_over_split", "rows_of_split", "sum_over_split"]

# `(stored rows [B, ...], mask [B], number of the batch) -> tree of arrays`
Program = Callable[[PyTree, PyTree, np.uint32], PyTree]


def map_over_split(
    program: Program,
    source: Source,
    batch_size: int,
    *,
    limit: int = 0,
    sharding: NamedSharding | None = None,
    description: str = "",
) -> Iterator[tuple[PyTree, np.ndarray]]:
    """The outputs of a program for each batch of a split, as NumPy arrays, with the batch's mask.

    Batches come in the random `eval_order` of the split and have one size. The mask, bool
    `[batch_size]`, is False for the examples that fill up the last one. Each process takes only the
    rows on its own devices.

    Args:
      program: compiled.
      source: the split.
      batch_size: examples at once.
      limit: only this many examples; 0 for all.
      sharding: of the rows and the mask over devices; None leaves the placement to JAX.
      description: of a progress bar; none if it is empty.
    """
    batches = list(eval_batches(source.size, batch_size, limit))
    shown = progress(batches, description) if description else batches
    own = slice(None) if sharding is None else own_positions(sharding, batch_size)
    for number, (indices, mask) in enumerate(shown):
        arrays: dict[str, PyTree] = source.take(indices[own]) | {"": mask[own]}
        if sharding is not None:
            arrays = put_own(sharding, arrays, batch_size)
        mask_array = arrays.pop("")
        yield jax.tree.map(np.asarray, program(arrays, mask_array, np.uint32(number))), mask


def _merges(part: PyTree) -> bool:
    return hasattr(part, "merge")


def sum_over_split(program: Program, source: Source, batch_size: int, **options: PyTree) -> PyTree:
    """Sums, in float64, of a program's outputs over the batches of a split.

    Args:
      program: see `map_over_split`; it returns sums over the examples where the mask is True. A
        part of the tree with a method `merge(other)` is combined by that instead of added.
      source: the split.
      batch_size: examples at once.
      **options: of `map_over_split`.
    """

    def add(total: PyTree, part: PyTree) -> PyTree:
        return total.merge(part) if _merges(total) else np.add(total, part)

    total: PyTree = None
    for part, _ in map_over_split(program, source, batch_size, **options):
        part = jax.tree.map(lambda a: a.astype(np.float64), part)
        total = part if total is None else jax.tree.map(add, total, part, is_leaf=_merges)
    return total


def rows_of_split(program: Program, source: Source, batch_size: int, **options: PyTree) -> PyTree:
    """A program's outputs `[N, ...]` for the examples of a split, in `eval_order`.

    Args:
      program: see `map_over_split`; its outputs have one row for each row of the batch.
      source: the split.
      batch_size: examples at once.
      **options: of `map_over_split`.
    """
    parts = [
        jax.tree.map(lambda a, mask=mask: a[mask], part)
        for part, mask in map_over_split(program, source, batch_size, **options)
    ]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def in_stored_order(rows: PyTree, size: int) -> PyTree:
    """Rows `[size, ...]` of a whole split, from `eval_order` to the order in which it is stored."""
    position = np.argsort(eval_order(size))
    return jax.tree.map(lambda a: a[position], rows)
