"""Quantizers without a codebook, whose codes are the points of a fixed lattice."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.types import Params, PyTree
from vaejax.distributions import OneHotCodes
from vaejax.quantizers.quantizer import Quantizer, normalize, only_existing, straight_through

__all__ = ["finite_scalar", "lookup_free"]

_INT32 = 2**31


def _no_params(key: jax.Array, tokens: jax.Array) -> Params:
    return {}


def finite_scalar(levels: Sequence[int] = (8, 5, 5, 5)) -> Quantizer:
    """Finite scalar quantisation (FSQ, 2309.15505, section 3): each dimension is rounded.

    Dimension i is bounded by tanh and rounded to one of `levels[i]` values; z is in [−1, 1]. It has
    no parameters and needs no further loss. An index is a number in the mixed radix of the levels,
    whose first digit is the least significant.

    Args:
      levels: number of values of each dimension; their product is the number of codes. The paper
        suggests (8, 6, 5) for 2⁸, (8, 5, 5, 5) for 2¹⁰, (7, 5, 5, 5, 5) for 2¹² and
        (8, 8, 8, 6, 5) for 2¹⁴.

    Raises:
      ValueError: a dimension of fewer than 3 levels (2 levels have no gradient at zero: use
        `lookup_free`), or more codes than fit in an int32.
    """
    levels = tuple(int(n) for n in levels)
    if not levels or min(levels) < 3 or math.prod(levels) >= _INT32:
        raise ValueError(
            f"finite_scalar needs at least one dimension, 3 levels or more in each (for 2, use "
            f"lookup_free), and fewer than 2³¹ codes in total, found levels={levels}"
        )
    count = np.asarray(levels, np.float32)
    # For an even number of levels zero is halfway between two values, hence the offset.
    half = (count - 1) * (1 - 1e-3) / 2
    offset = np.where(count % 2 == 0, 0.5, 0.0).astype(np.float32)
    shift = np.arctanh(offset / half).astype(np.float32)
    radix = np.concatenate([[1], np.cumprod(levels)[:-1]]).astype(np.int32)
    half_width = count // 2  # subtracted from a digit and divided by it, to get into [−1, 1]

    def along_last(a: np.ndarray, like: jax.Array) -> jax.Array:
        return jnp.asarray(a).reshape((1,) * (like.ndim - 1) + (-1,))

    def quantize(
        params: PyTree, tokens: jax.Array, key: jax.Array | None
    ) -> tuple[OneHotCodes, jax.Array]:
        del params, key
        bounded = jnp.tanh(tokens + along_last(shift, tokens)) * along_last(half, tokens)
        bounded = bounded - along_last(offset, tokens)
        rounded = jnp.round(jax.lax.stop_gradient(bounded))
        width = along_last(half_width, tokens)
        digits = (rounded + width).astype(jnp.int32)
        indices = jnp.sum(digits * along_last(radix, tokens), axis=-1)
        features, codes = bounded / width, rounded / width
        posterior = OneHotCodes(features, codes, indices, math.prod(levels))
        return posterior, straight_through(features, codes)

    def embed(params: PyTree, indices: jax.Array) -> jax.Array:
        del params
        index = jnp.maximum(indices, 0)[..., None]
        digits = index // along_last(radix, index) % along_last(np.asarray(levels, np.int32), index)
        width = along_last(half_width, index)
        z = (digits.astype(jnp.float32) - width) / width
        return only_existing(z, indices, math.prod(levels))

    dim = len(levels)
    return Quantizer(dim, dim, math.prod(levels), (), False, _no_params, quantize, embed)


def lookup_free(bits: int = 10, spherical: bool = False) -> Quantizer:
    """Lookup-free quantisation (LFQ, MAGVIT-v2, 2310.05737, section 3.1): the sign of each feature.

    z is ±1 in every dimension. It has no parameters, and needs the two losses of
    `losses.code_entropies`: low entropy of the code of each token, high entropy of the average over
    tokens. Bit i of an index is 1 where dimension i is positive.

    Args:
      bits: number of dimensions; there are 2^bits codes.
      spherical: binary spherical quantisation (BSQ, 2406.07548, section 4.1): tokens are normalised
        to unit length, and z is ±1/√bits, of unit length too, so that the error is bounded.

    Raises:
      ValueError: not between 1 and 30 bits.
    """
    if not 1 <= bits <= 30:
        raise ValueError(f"lookup_free takes 1 to 30 bits, found {bits}")
    weights = np.asarray([1 << i for i in range(bits)], np.int32)
    size = 1 / math.sqrt(bits) if spherical else 1.0

    def quantize(
        params: PyTree, tokens: jax.Array, key: jax.Array | None
    ) -> tuple[OneHotCodes, jax.Array]:
        del params, key
        tokens = normalize(tokens) if spherical else tokens
        positive = tokens > 0
        codes = jnp.where(positive, size, -size)
        powers = jnp.asarray(weights).reshape((1,) * (tokens.ndim - 1) + (-1,))
        indices = jnp.sum(jnp.where(positive, powers, 0), axis=-1)
        posterior = OneHotCodes(tokens, codes, indices, 2**bits)
        return posterior, straight_through(tokens, codes)

    def embed(params: PyTree, indices: jax.Array) -> jax.Array:
        del params
        index = jnp.maximum(indices, 0)[..., None]
        bit = jnp.arange(bits, dtype=jnp.int32).reshape((1,) * (index.ndim - 1) + (-1,))
        z = jnp.where(index >> bit & 1 == 1, size, -size)
        return only_existing(z, indices, 2**bits)

    return Quantizer(bits, bits, 2**bits, (), False, _no_params, quantize, embed)
