"""Nearest-code search and k-means in bounded memory, without the full distance matrix."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim

from vaejax.core.distances import power_of_two_centre
from vaejax.core.tensor_axis import TensorAxis, tensor_axis
from vaejax.quantizers.segment_sums import code_sums

__all__ = ["Blocks", "default_blocks", "kmeans", "nearest"]

_GROUP = 16


class Blocks(NamedTuple):
    """The parts in which `nearest` searches; they change its speed and memory, not its result.

    Attributes:
      tokens: in a block; its distances are `tokens · codes` numbers.
      codes: in a block; a multiple of `group`.
      group: codes over which the lowest distance is reduced first, which is faster on CPU; 0 for a
        single reduction.
    """

    tokens: int
    codes: int
    group: int = 0


def default_blocks(total: int) -> Blocks:
    """Blocks for `total` codes, which fit a CPU's cache or use an accelerator fully."""
    if jax.default_backend() != "cpu":
        return Blocks(16_384, min(total, 8_192))
    chunks = -(-total // 8_192)
    codes = -(-total // (chunks * _GROUP)) * _GROUP
    return Blocks(max(2**21 // codes, 1), codes, _GROUP)


def _inner(codes: jax.Array, features: jax.Array) -> jax.Array:
    """`[k, D], [R, D] -> [k, R]`."""
    return jnp.matmul(codes, features.T, precision=jax.lax.Precision.HIGHEST)


def _first(rows: jax.Array, lowest: jax.Array, numbers: jax.Array) -> jax.Array:
    """The number of the first row that equals `lowest`, since XLA's argmin on CPU is scalar code.

    The last number if no row does. `[k, R], [R], [k, R] or [k, 1] -> [R]`.
    """
    return jnp.where(rows == lowest[None], numbers, numbers[-1:]).min(axis=0)


def _lowest(codes: jax.Array, norms: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The lowest ½‖e‖² − e·f and its first code: `[k, D], [k, 1], [R, D] -> [R], [R]`."""
    distance = norms - _inner(codes, features)  # [k, R]
    lowest = jnp.min(distance, axis=0)
    return lowest, _first(distance, lowest, jnp.arange(len(codes), dtype=jnp.int32)[:, None])


def _lowest_by_groups(
    codes: jax.Array, norms: jax.Array, features: jax.Array, group: int
) -> tuple[jax.Array, jax.Array]:
    """As `_lowest`, with one pass over the distances where XLA on CPU would make five.

    The norms are added by the matrix product, and only the group of G codes with the lowest
    distance is searched for its first code.
    """
    ones = jnp.ones((len(features), 1), features.dtype)
    distance = _inner(jnp.hstack([-codes, norms]), jnp.hstack([features, ones]))  # [k, R]
    grouped = distance.reshape(-1, group, len(features)).min(axis=1)  # [k / G, R]
    lowest = grouped.min(axis=0)
    numbers = jnp.arange(len(grouped), dtype=jnp.int32)[:, None]
    start = group * _first(grouped, lowest, numbers)
    within = start[None] + jnp.arange(group, dtype=jnp.int32)[:, None]  # [G, R]
    members = jnp.take_along_axis(distance, within, axis=0, mode="promise_in_bounds")
    return lowest, _first(members, lowest, within)


class _Search(NamedTuple):
    """The search of the codes nearest to a block of features, one chunk of codes after the other.

    Attributes:
      centre: subtracted from features and codes, `[1, D]`.
      codes: of all chunks, the last one padded, `[C · k, D]`.
      half_norms: half the squared norm of each code, infinite for the padding, `[C · k]`.
      total: K, codes without the padding.
      chunk: k, codes compared at once.
      group: see `Blocks`.
    """

    centre: jax.Array
    codes: jax.Array
    half_norms: jax.Array
    total: int
    chunk: int
    group: int

    def in_chunk(self, features: jax.Array, start: int | jax.Array) -> tuple[jax.Array, jax.Array]:
        """The lowest ½‖e‖² − e·f over the codes from `start` on, and its index, `[R]` each."""
        codes = jax.lax.dynamic_slice_in_dim(self.codes, start, self.chunk)  # [k, D]
        norms = jax.lax.dynamic_slice_in_dim(self.half_norms, start, self.chunk)[:, None]
        if self.group:
            lowest, first = _lowest_by_groups(codes, norms, features, self.group)
        else:
            lowest, first = _lowest(codes, norms, features)
        # NaN equals no row: any valid code.
        return lowest, jnp.minimum(first + start, self.total - 1)

    def nearest(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:  # [R, D] -> [R], [R]
        """The lowest ½‖e‖² − e·f over all codes, and the index of its first code."""
        features = features - self.centre

        def update(i: jax.Array, best: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            lowest, first = self.in_chunk(features, i * self.chunk)
            nearer = lowest < best[0]
            return jnp.where(nearer, lowest, best[0]), jnp.where(nearer, first, best[1])

        best = self.in_chunk(features, 0)
        if len(self.half_norms) > self.chunk:
            best = jax.lax.fori_loop(1, len(self.half_norms) // self.chunk, update, best)
        return best

    def over_blocks(
        self, features: jax.Array, block: int, *, distances: bool = False
    ) -> tuple[jax.Array | None, jax.Array]:
        """As `nearest` of features `[N, D]`, `block` of them at a time.

        Unless `distances` are asked for, they may be None.
        """
        tokens, dim = features.shape
        symbolic = is_symbolic_dim(tokens)  # an export for any batch size: blocks of a fixed size
        if symbolic and jax.default_backend() == "cpu":  # small, since the last one is padded
            block = min(block, 512)
        count = -(-tokens // block)
        if symbolic:
            rows = block
        elif count == 1:
            return self.nearest(features)
        else:
            rows = -(-tokens // count)
        padded = jnp.pad(features, ((0, rows * count - tokens), (0, 0)))
        # A block has every count-th token, so that tokens sharded over devices are not moved. It is
        # sliced inside the loop: contiguous blocks would need a second copy of the features.
        blocked = padded.reshape(rows, count, dim)

        def search_block(i: jax.Array) -> tuple[jax.Array | None, jax.Array]:
            part = jax.lax.dynamic_index_in_dim(blocked, i, axis=1, keepdims=False)
            lowest, first = self.nearest(part)
            return (lowest if distances else None), first

        found = jax.lax.map(search_block, jnp.arange(count))  # [count, rows]
        result: tuple[jax.Array | None, jax.Array] = jax.tree.map(
            lambda a: a.swapaxes(0, 1).reshape(-1)[:tokens], found
        )
        return result


def _search(codebook: jax.Array, centre: jax.Array, chunk: int, group: int) -> _Search:
    """The search in a codebook `[K, D]` by chunks of k codes, in groups if not 0."""
    codebook = codebook - centre
    total = codebook.shape[0]
    padding = -total % chunk
    half_norms = jnp.pad(
        0.5 * jnp.sum(codebook * codebook, axis=1), (0, padding), constant_values=jnp.inf
    )
    codebook = jnp.pad(codebook, ((0, padding), (0, 0)))
    return _Search(centre, codebook, half_norms, total, chunk, group)


def nearest(features: jax.Array, codebook: jax.Array, *, blocks: Blocks | None = None) -> jax.Array:
    """Index of the nearest code of each feature in Euclidean distance; the first one of ties.

    Compares ½‖e‖² − e·f, which orders codes as the distance does, in float32 at full precision.
    Both are first shifted by the codebook's centre, since codes far from the origin compared with
    their spread would be compared by the rounding of large numbers. No gradient passes through it.

    Args:
      features: `[N, D]`.
      codebook: `[K, D]`.
      blocks: of the search; None for `default_blocks`.

    Returns:
      int32 `[N]`.
    """
    chex.assert_rank([features, codebook], 2)
    chex.assert_equal_shape_suffix([features, codebook], 1)
    features = jax.lax.stop_gradient(features).astype(jnp.float32)
    codebook = jax.lax.stop_gradient(codebook).astype(jnp.float32)
    centre = power_of_two_centre(codebook)[None]
    if (axis := tensor_axis(codebook.shape[0])) is not None:
        return _nearest_of_shards(features, codebook, centre, axis, blocks)
    block, chunk, group = blocks or default_blocks(codebook.shape[0])
    return _search(codebook, centre, chunk, group).over_blocks(features, block)[1]


def _nearest_of_shards(
    features: jax.Array,
    codebook: jax.Array,
    centre: jax.Array,
    axis: TensorAxis,
    blocks: Blocks | None,
) -> jax.Array:
    """`nearest` where each device has a part of the codes: it searches that part alone.

    The lowest distance of all parts is found by one reduction over the devices, and the first code
    with that distance by another.
    """
    total = codebook.shape[0]
    part = total // axis.size
    block, chunk, group = blocks or default_blocks(part)

    def on_device(
        codes: jax.Array, number: jax.Array, features: jax.Array, centre: jax.Array
    ) -> jax.Array:
        search = _search(codes, centre, chunk, group)
        lowest, first = search.over_blocks(features, block, distances=True)
        assert lowest is not None
        best = axis.minimum(lowest)
        # NaN equals no distance: any valid code.
        return axis.minimum(jnp.where(lowest == best, first + part * number, total - 1))

    return axis.map(on_device, [codebook], features, centre)


def kmeans(key: jax.Array, features: jax.Array, codes: int, iterations: int = 10) -> jax.Array:
    """Lloyd's algorithm, initialised with random features: `[N, D] -> [codes, D]`.

    With fewer features than codes, the remaining codes are initialised with jittered copies. A code
    without features keeps its position.
    """
    centre = power_of_two_centre(features)[None]  # far from zero, sums would be rounded
    features = features - centre
    tokens = features.shape[0]
    choose_key, noise_key = jax.random.split(key)
    order = jax.random.permutation(choose_key, tokens)
    centres = features[order[jnp.arange(codes) % tokens]]
    if codes > tokens:
        jitter = 0.01 * features.std(axis=0)[None]
        centres = centres + jitter * jax.random.normal(noise_key, centres.shape)

    def lloyd(_: int, centres: jax.Array) -> jax.Array:
        indices = nearest(features, centres)
        count = code_sums(jnp.ones((tokens, 1)), indices[:, None], codes)[0][:, None]
        total = code_sums(features[:, None], indices[:, None], codes)[0]
        return jnp.where(count > 0, total / jnp.maximum(count, 1.0), centres)

    result: jax.Array = jax.lax.fori_loop(0, iterations, lloyd, centres) + centre
    return result
