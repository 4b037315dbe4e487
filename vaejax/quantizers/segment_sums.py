"""Sums over the tokens of each code, and lookups of codes, whose gradient is such a sum.

On CPU these are XLA's scatter and gather. On accelerators a scatter uses atomic additions: it is
slow if few codes are in use, and its order, hence its rounding, differs between runs. There the
sums are products with one-hot matrices of blocks of tokens, as many operations as the search for
the nearest codes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.tensor_axis import tensor_axis

__all__ = ["code_sums", "codes_at"]

_MAX_ELEMENTS = 2**24


def code_sums(
    values: jax.Array, indices: jax.Array, codes: int, *, max_elements: int = _MAX_ELEMENTS
) -> jax.Array:
    """Sums of values over the tokens that chose each code.

    Args:
      values: `[N, S, ...]`, of N tokens in S codebooks.
      indices: `[N, S]`; −1 for tokens without a code.
      codes: number K of codes in each codebook.
      max_elements: bound of the one-hot matrix of a block, on accelerators.

    Returns:
      `[S, K, ...]` of the dtype of the values.
    """
    if (axis := tensor_axis(codes)) is not None:
        part = codes // axis.size

        def of_part(number: jax.Array, values: jax.Array, indices: jax.Array) -> jax.Array:
            own = indices - part * number
            own = jnp.where((own >= 0) & (own < part), own, -1)
            return _sums(values, own, part, max_elements)

        return axis.sum_over_rows(of_part, values, indices, result_axis=1)
    return _sums(values, indices, codes, max_elements)


def _sums(values: jax.Array, indices: jax.Array, codes: int, max_elements: int) -> jax.Array:
    """`code_sums` of all codes on each device."""
    tokens, books, *rest = values.shape
    if jax.default_backend() == "cpu" or not rest:  # atomic additions of scalars are fast
        segments = jnp.where(indices >= 0, indices + codes * jnp.arange(books)[None], books * codes)
        flat = values.reshape(-1, *rest)
        total = jax.ops.segment_sum(flat, segments.reshape(-1), books * codes)
        return total.reshape(books, codes, *rest)

    count = -(-tokens * books * codes // max_elements)
    padding = -tokens % count
    # A block has every count-th token, so that tokens sharded over devices are not moved.
    flat = jnp.pad(values.reshape(tokens, books, -1), ((0, padding), (0, 0), (0, 0)))
    flat = flat.reshape(-1, count, *flat.shape[1:])
    chosen = jnp.pad(indices, ((0, padding), (0, 0)), constant_values=-1).reshape(-1, count, books)

    def block(i: jax.Array | int) -> jax.Array:
        rows, row_codes = (
            jax.lax.dynamic_index_in_dim(a, i, 1, keepdims=False) for a in (flat, chosen)
        )
        one_hot = (row_codes[..., None] == jnp.arange(codes)[None, None]).astype(values.dtype)
        return jnp.einsum("nsk,nsd->skd", one_hot, rows, precision=jax.lax.Precision.HIGHEST)

    total = block(0)
    if count > 1:
        total = jax.lax.fori_loop(1, count, lambda i, sum_: sum_ + block(i), total)
    return total.reshape(books, codes, *rest)


@jax.custom_vjp
def _gather(codebook: jax.Array, indices: jax.Array) -> jax.Array:
    return codebook[indices]


def _gather_fwd(
    codebook: jax.Array, indices: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return codebook[indices], (codebook, indices)


def _gather_bwd(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, np.ndarray]:
    codebook, indices = saved
    flat = g.reshape(-1, 1, codebook.shape[1])
    total = code_sums(flat, indices.reshape(-1, 1), codebook.shape[0])[0]
    return total, np.zeros(indices.shape, jax.dtypes.float0)


_gather.defvjp(_gather_fwd, _gather_bwd)


def codes_at(codebook: jax.Array, indices: jax.Array) -> jax.Array:
    """The codes `[..., D]` of a codebook `[K, D]` at indices `[...]`, each from 0 to K − 1."""
    if (axis := tensor_axis(codebook.shape[0])) is not None:
        part = codebook.shape[0] // axis.size

        def from_part(codes: jax.Array, number: jax.Array, indices: jax.Array) -> jax.Array:
            own = indices - part * number
            found = _codes_at(codes, jnp.clip(own, 0, part - 1))
            return axis.sum(jnp.where(((own >= 0) & (own < part))[..., None], found, 0))

        return axis.map(from_part, [codebook], indices)
    return _codes_at(codebook, indices)


def _codes_at(codebook: jax.Array, indices: jax.Array) -> jax.Array:
    if jax.default_backend() == "cpu":
        return codebook[indices]
    return _gather(codebook, indices)
