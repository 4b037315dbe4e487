"""Rows of a dataset that all devices hold together, and batches gathered from them.

Every device holds consecutive rows. For a batch each device looks up those of its rows that are in
it, and a reduction brings every row of the batch to the device that computes it. The fields of a
row are packed into words of 32 bits, so there is one reduction, and it copies bits.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vaejax.core.sharding import DATA, FSDP

__all__ = ["SpreadRows"]

_AXES = (DATA, FSDP)
_WORD = 4  # bytes

Rows = Mapping[str, np.ndarray]


class _Field(NamedTuple):
    """Where a field is in the words of a row."""

    shape: tuple[int, ...]
    dtype: np.dtype
    words: slice

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class SpreadRows:
    """Rows of `size` examples, spread over the axes `data` and `fsdp` of a mesh.

    Attributes:
      words: the rows on the devices, uint32 `[N, W]`, where N is `size` rounded up to a multiple of
        the devices.
    """

    def __init__(self, take: Callable[[np.ndarray], Rows], size: int, mesh: Mesh) -> None:
        """Each process takes the rows of its own devices.

        Args:
          take: the stored rows at indices `[n]`.
          size: number of rows.
          mesh: the devices.
        """
        self._mesh, self._fields, start = mesh, dict[str, _Field](), 0
        for name, value in take(np.zeros(1, np.int32)).items():
            dtype = np.dtype(jax.dtypes.canonicalize_dtype(value.dtype))
            width = -(-math.prod(value.shape[1:]) * dtype.itemsize // _WORD)
            self._fields[name] = _Field(value.shape[1:], dtype, slice(start, start + width))
            start += width
        devices = mesh.shape[DATA] * mesh.shape[FSDP]
        per_device, parts = -(-size // devices), dict[int, np.ndarray]()

        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            first = index[0].indices(per_device * devices)[0]
            if first not in parts:  # else of another device of the axis `tensor`
                parts[first] = np.zeros((per_device, start), np.uint32)
                self._pack(take, range(first, min(first + per_device, size)), parts[first])
            return parts[first]

        sharding = NamedSharding(mesh, PartitionSpec(_AXES))
        shape = (per_device * devices, start)
        self.words: jax.Array = jax.make_array_from_callback(shape, sharding, part)

    def _pack(self, take: Callable[[np.ndarray], Rows], rows: range, words: np.ndarray) -> None:
        """Writes consecutive rows as words, a part at a time."""
        step = max(1, 2**24 // (_WORD * max(1, words.shape[1])))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            taken = take(np.arange(some.start, some.stop))
            for name, field in self._fields.items():
                value = np.ascontiguousarray(taken[name], field.dtype).reshape(len(some), -1)
                place = words[start : start + len(some), field.words].view(np.uint8)
                place[:, : field.nbytes] = value.view(np.uint8)

    def gather(self, words: jax.Array, index: jax.Array) -> dict[str, jax.Array]:
        """The rows of a batch; called inside a compiled function.

        Args:
          words: the attribute `words`, as an argument of the compiled function.
          index: of the examples, int32 `[B]`, spread over the devices.
        """

        def on_device(words: jax.Array, index: jax.Array) -> jax.Array:
            everyones = jax.lax.all_gather(index, _AXES, tiled=True)
            local = everyones - jax.lax.axis_index(_AXES) * len(words)
            present = (local >= 0) & (local < len(words))
            found = words[jnp.clip(local, 0, len(words) - 1)]
            found = jnp.where(present[:, None], found, 0)
            # Of every row all devices but one have zeros, so the sum copies it.
            batch: jax.Array = jax.lax.psum_scatter(found, _AXES, tiled=True)
            return batch

        spread = PartitionSpec(_AXES)
        batch = jax.shard_map(
            on_device,
            mesh=self._mesh,
            in_specs=(spread, spread),
            out_specs=spread,
            check_vma=False,
        )(words, index)
        return {k: _unpacked(batch[:, field.words], field) for k, field in self._fields.items()}


def _unpacked(words: jax.Array, field: _Field) -> jax.Array:
    """Values `[B, ...]` of words uint32 `[B, w]`."""
    shape = (len(words), *field.shape)
    if field.dtype.itemsize == _WORD:
        return jax.lax.bitcast_convert_type(words, field.dtype).reshape(shape)
    octets = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(len(words), -1)
    octets = octets[:, : field.nbytes]
    if field.dtype == np.bool_:
        return (octets != 0).reshape(shape)
    size = field.dtype.itemsize
    if size > 1:
        octets = octets.reshape(len(words), -1, size)
    return jax.lax.bitcast_convert_type(octets, field.dtype).reshape(shape)
