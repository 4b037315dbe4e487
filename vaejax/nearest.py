"""Nearest-code search in bounded memory: the full distance matrix is never made."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim

from vaejax.code_sums import code_sums


def _blocks() -> tuple[int, int]:
    """Tokens and codes in one block: what stays in a CPU's cache, or fills an accelerator."""
    return (512, 1024) if jax.default_backend() == "cpu" else (16_384, 8_192)


def nearest(features: jax.Array, codebook: jax.Array) -> jax.Array:
    """Index of the Euclidean-nearest code of each feature; of equally near ones the first.

    Works on ½‖e‖² − e·f, which orders codes as the distance does, in float32 at full precision.
    No gradient flows through it.

    Args:
      features: `[N, D]`.
      codebook: `[K, D]`.

    Returns:
      int32 `[N]`.
    """
    chex.assert_rank([features, codebook], 2)
    chex.assert_equal_shape_suffix([features, codebook], 1)
    features = jax.lax.stop_gradient(features).astype(jnp.float32)
    codebook = jax.lax.stop_gradient(codebook).astype(jnp.float32)
    tokens, dim = features.shape
    block, chunk = _blocks()

    # Half the squared norm of each code; infinite for those that fill up the last chunk.
    total = codebook.shape[0]
    chunk = min(chunk, total)
    surplus = -total % chunk
    half_norms = jnp.pad(
        0.5 * jnp.sum(codebook * codebook, axis=1), (0, surplus), constant_values=jnp.inf
    )
    codebook = jnp.pad(codebook, ((0, surplus), (0, 0)))

    def search_chunk(block_of_features: jax.Array, start: Any) -> tuple[jax.Array, jax.Array]:
        codes = jax.lax.dynamic_slice_in_dim(codebook, start, chunk)  # [k, D]
        norms = jax.lax.dynamic_slice_in_dim(half_norms, start, chunk)[:, None]
        inner = jnp.matmul(codes, block_of_features.T, precision=jax.lax.Precision.HIGHEST)
        distance = norms - inner  # [k, R]
        # The minimum, then the first index that equals it: argmin is scalar code on CPU.
        lowest = jnp.min(distance, axis=0)
        numbers = jax.lax.broadcasted_iota(jnp.int32, distance.shape, 0)
        first = jnp.where(distance == lowest[None], numbers, chunk - 1).min(axis=0)
        return lowest, jnp.minimum(first + start, total - 1)  # a NaN equals nothing: any code

    def search(block_of_features: jax.Array) -> jax.Array:  # [R, D] -> [R]
        def further(i: jax.Array, best: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            lowest, first = search_chunk(block_of_features, i * chunk)
            nearer = lowest < best[0]
            return jnp.where(nearer, lowest, best[0]), jnp.where(nearer, first, best[1])

        best = search_chunk(block_of_features, 0)
        if len(half_norms) > chunk:
            best = jax.lax.fori_loop(1, len(half_norms) // chunk, further, best)
        return best[1]

    count = -(-tokens // block)
    if is_symbolic_dim(tokens):  # in an export: as many whole blocks as will be wanted
        rows = block
    elif count == 1:
        return search(features)
    else:
        rows = -(-tokens // count)
    padded = jnp.pad(features, ((0, rows * count - tokens), (0, 0)))
    # A block takes every count-th token, so that tokens sharded over devices stay where they are.
    # It is cut out when its turn comes: blocks laid in order beforehand would be a second copy.
    blocks = padded.reshape(rows, count, dim)

    def search_block(i: jax.Array) -> jax.Array:
        return search(jax.lax.dynamic_index_in_dim(blocks, i, axis=1, keepdims=False))

    found = jax.lax.map(search_block, jnp.arange(count))  # [count, rows]
    return found.swapaxes(0, 1).reshape(-1)[:tokens]


def kmeans(key: jax.Array, features: jax.Array, codes: int, iterations: int = 10) -> jax.Array:
    """Lloyd's algorithm from randomly chosen features: `[N, D] -> [codes, D]`.

    With fewer features than codes, the surplus starts as jittered copies. A code that loses all
    its features stays where it was.
    """
    tokens = features.shape[0]
    choose_key, noise_key = jax.random.split(key)
    order = jax.random.permutation(choose_key, tokens)
    start = features[order[jnp.arange(codes) % tokens]]
    if codes > tokens:
        spread = 0.01 * features.std(axis=0)[None]
        start = start + spread * jax.random.normal(noise_key, start.shape)

    def lloyd(_: int, centres: jax.Array) -> jax.Array:
        indices = nearest(features, centres)
        count = code_sums(jnp.ones((tokens, 1)), indices[:, None], codes)[0][:, None]
        total = code_sums(features[:, None], indices[:, None], codes)[0]
        return jnp.where(count > 0, total / jnp.maximum(count, 1.0), centres)

    return jax.lax.fori_loop(0, iterations, lloyd, start)
