"""`Source`: one split of a dataset with random access by example index."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.token_layout import Layout
from vaejax.data.columns import Column
from vaejax.data.row_storage import on_disk, process_share
from vaejax.data.sparse import SparseTable

__all__ = [
    "DEFAULT_RESIDENT_BYTES",
    "Batch",
    "Rows",
    "Source",
    "check_split",
    "decode_rows",
    "decoder",
    "gather",
    "hold_out",
    "in_memory",
    "subset",
]

Rows = dict[str, np.ndarray]
Batch = dict[str, jax.Array]

_SPLITS = ("train", "eval", "validation")
DEFAULT_RESIDENT_BYTES = 2**30
_PCM_SCALE = 2.0**15  # 16-bit audio stores 1.0 as this number


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One split of a dataset with random access by example index.

    Rows are the stored form of examples (bytes, packed bits, counts); `decode` turns them into a
    batch, on the accelerator if it is called inside jit.

    Attributes:
      name: the source string it was loaded from, or the caller's name for it.
      split: `'train'`, `'eval'` or `'validation'`.
      size: number of examples in this split.
      take: stored rows `[B, ...]` of the example indices `[B]`, gathered on the host.
      arrays: all stored rows `[size, ...]`, which `take` gathers from; None if they are too large
        to hold in memory, and `take` reads them.
      spread: of several processes, whether they hold the rows together, each a part, since all are
        more than the share of one. Then `arrays` is None, and `take` reads from a mapped file.
      decode: pure and jittable, from stored rows `[B, ...]` to a batch: one of `image` float32 in
        [0, 1] `[B, H, W, C]`, `sequence` float32 in [0, 1] `[B, T, H, W, C]`, `vector` float32
        `[B, D]`, `signal` float32 `[B, T, C]` or `tokens` int32 `[B, ...]`, and optionally `label`
        int32 `[B]`, `factors` int32 `[B, K]`, `condition` float32 `[B, D]` or `[B, H, W, C]`,
        `truth` float32 `[B, T, D]` (the true states of a sequence or signal, for evaluation only),
        `mask` bool (true where a value is present, see `core.events.event_mask`) and `hidden`
        float32 `[B, H, W, 1]` (1 for pixels to predict from the others).
      factor_sizes: number of classes of each factor.
      factor_names: name of each factor, in the order of `factors`.
      num_classes: number of classes of `label`.
      class_names: name of each class of `label`.
      column_names: name of each column of `vector`.
      columns: of a `vector` that was read from a table: its columns, whose categories `vector`
        holds as their numbers; else None.
      condition_columns: of a vector `condition` that was made from columns of a table: these
        columns, those of categories being one-hot in it; else None.
      num_tokens: number of classes of `tokens`.
      token_names: name of each class of `tokens`, a character or a word.
      layout: of `tokens` that are the codes of a model; else None.
      labelled: of a training split, the sorted indices of the labelled examples, if every batch has
        a fixed number of them; else None.
      labelled_per_batch: that number.
      sparse: the rows of which only what is not zero is stored, and which `take` makes dense; then
        `arrays` is None. Else None.
      sample_rate: of sound, samples per second; None if it is unknown, or no sound.
      unit_scale: whether vectors and signals were generated near unit scale, so that models do not
        standardise them.
      read: of streamed sources that several workers may read: as `take`, but in one thread, and
        picklable (by `cloudpickle`); None: one thread calls `take`.
      workers: processes that call `read` during a training; 0: threads.
    """

    name: str
    split: str
    size: int
    take: Callable[[np.ndarray], Rows]
    arrays: Rows | None
    decode: Callable[[Batch], Batch]
    factor_sizes: tuple[int, ...] | None = None
    factor_names: tuple[str, ...] | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    column_names: tuple[str, ...] | None = None
    columns: tuple[Column, ...] | None = None
    condition_columns: tuple[Column, ...] | None = None
    num_tokens: int | None = None
    token_names: tuple[str, ...] | None = None
    layout: Layout | None = None
    sparse: SparseTable | None = None
    sample_rate: int | None = None
    unit_scale: bool = False
    labelled: np.ndarray | None = None
    labelled_per_batch: int = 0
    read: Callable[[np.ndarray], Rows] | None = None
    workers: int = 0
    spread: bool = False


def decode_rows(rows: Batch, *, scale: float = 255.0) -> Batch:
    """The batch of rows of plain arrays: pixels divided by `scale`, classes int32.

    An int16 signal is divided by 32,768, so that it lies in [−1, 1). The `lengths` of padded events
    become a `mask`.
    """
    batch: Batch = {}
    for field, value in rows.items():
        if field == "mask":
            batch[field] = value.astype(jnp.bool_)
        elif field in ("image", "sequence"):
            batch[field] = value.astype(jnp.float32) / scale
        else:
            real = field in ("vector", "signal", "condition", "truth")
            batch[field] = value.astype(jnp.float32 if real else jnp.int32)
            if field == "signal" and value.dtype == jnp.int16:
                batch[field] = batch[field] / _PCM_SCALE
    if "lengths" in batch:
        lengths = batch.pop("lengths")
        padded = next(batch[name] for name in ("sequence", "signal", "tokens") if name in batch)
        mask = jnp.arange(padded.shape[1])[None] < lengths[:, None]
        batch["mask"] = batch["mask"] & mask if "mask" in batch else mask
    return batch


def decoder(scale: float) -> Callable[[Batch], Batch]:
    """`decode_rows` for stored pixels in [0, scale]."""
    return functools.partial(decode_rows, scale=scale)


def check_split(split: str) -> None:
    """Raises ValueError unless `split` is `'train'`, `'eval'` or `'validation'`."""
    if split not in _SPLITS:
        raise ValueError(f"unknown split {split!r}: expected 'train', 'eval' or 'validation'")


def hold_out(count: int, split: str, fraction: float) -> np.ndarray:
    """Stored indices of a split of data that has no splits of its own.

    Args:
      count: number of stored examples.
      split: `'train'` or `'eval'`.
      fraction: share of the examples held out for `'eval'`; at 0 both splits are all examples.

    Returns:
      Sorted int64 indices. They depend only on `count` and `fraction`, so runs with different
      seeds evaluate on the same examples.

    Raises:
      ValueError: the fraction is outside [0, 1), or leaves no training examples.
    """
    check_split(split)
    if not 0 <= fraction < 1:
        raise ValueError(f"holdout must be in [0, 1), found {fraction}")
    if fraction == 0:
        return np.arange(count)
    held = max(1, round(count * fraction))
    if held >= count:
        raise ValueError(
            f"holdout={fraction} of {count} examples leaves none to train on; with data.holdout=0 "
            "both splits are all examples"
        )
    # The legacy generator, whose stream NumPy guarantees never to change.
    order = np.random.RandomState(0).permutation(count)
    return np.sort(order[:held] if split == "eval" else order[held:])


def gather(rows: Mapping[str, np.ndarray], indices: np.ndarray) -> Rows:
    """The rows at these indices."""
    return {field: value[indices] for field, value in rows.items()}


def in_memory(
    rows: Mapping[str, np.ndarray],
    positions: np.ndarray,
    *,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
    **fields: Any,
) -> Source:
    """A source of arrays.

    Args:
      rows: arrays, also memory-mapped ones, with one row per stored example.
      positions: sorted distinct indices of the stored examples in the split.
      max_resident_bytes: a split larger than this gets `arrays=None`; of several processes, one
        larger than the share of each is `spread` over them.
      **fields: the other fields of `Source`.
    """
    count = len(next(iter(rows.values())))
    row_bytes = sum(value.nbytes for value in rows.values()) // max(count, 1)
    stored = {field: np.asarray(value) for field, value in rows.items()}
    size, share = len(positions) * row_bytes, process_share(max_resident_bytes)
    if size > share:
        kept = on_disk(stored) if share < max_resident_bytes else stored
        return Source(
            size=len(positions),
            take=lambda indices: gather(kept, positions[indices]),
            arrays=None,
            spread=size <= max_resident_bytes,
            **fields,
        )
    arrays = stored if len(positions) == count else gather(stored, positions)
    return Source(
        size=len(positions), take=functools.partial(gather, arrays), arrays=arrays, **fields
    )


def subset(source: Source, positions: np.ndarray, split: str) -> Source:
    """The examples of a split at some positions, as a split of its own.

    Args:
      source: the split.
      positions: sorted distinct indices into it.
      split: name of the result.
    """
    if source.sparse is not None:
        table = source.sparse.select(positions)
        return dataclasses.replace(
            source, split=split, size=len(positions), take=table.take, sparse=table
        )
    if source.arrays is None:
        read = source.read
        return dataclasses.replace(
            source,
            split=split,
            size=len(positions),
            take=lambda indices: source.take(positions[indices]),
            read=(lambda indices: read(positions[indices])) if read else None,
        )
    arrays = gather(source.arrays, positions)
    return dataclasses.replace(
        source,
        split=split,
        size=len(positions),
        take=functools.partial(gather, arrays),
        arrays=arrays,
    )
