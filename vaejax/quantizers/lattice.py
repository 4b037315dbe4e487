"""Quantizers without a codebook: codes are the points of a fixed lattice."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.distributions import Codes
from vaejax.quantizers.quantizer import Quantizer, straight_through

_INT32 = 2**31


def _none(key: jax.Array, tokens: jax.Array) -> dict[str, Any]:
    return {}


def finite_scalar(levels: Sequence[int] = (8, 5, 5, 5)) -> Quantizer:
    """Finite scalar quantisation (FSQ, 2309.15505, section 3): each dimension is rounded.

    Dimension i is squashed into `levels[i]` values by tanh and rounded to the next; z lies in
    [−1, 1]. No parameters; no loss of its own. An index counts in the mixed radix of the levels,
    its first digit the lowest.

    Args:
      levels: values of each dimension; the product is the number of codes. The paper's suggestions:
        (8, 6, 5) for 2⁸, (8, 5, 5, 5) for 2¹⁰, (7, 5, 5, 5, 5) for 2¹², (8, 8, 8, 6, 5) for 2¹⁴.

    Raises:
      ValueError: fewer than 3 levels somewhere (squashing to 2 has no gradient at zero: take
        `lookup_free`), or more codes than an int32 counts.
    """
    levels = tuple(int(n) for n in levels)
    if not levels or min(levels) < 3 or math.prod(levels) >= _INT32:
        raise ValueError(
            f"finite_scalar needs at least one dimension, 3 levels or more in each (for 2, take "
            f"lookup_free), and fewer than 2³¹ codes in all, found levels={levels}"
        )
    count = np.asarray(levels, np.float32)
    # With an even number of levels the rounding borders, not the values, lie about zero.
    half = (count - 1) * (1 - 1e-3) / 2
    offset = np.where(count % 2 == 0, 0.5, 0.0).astype(np.float32)
    shift = np.arctanh(offset / half).astype(np.float32)
    radix = np.concatenate([[1], np.cumprod(levels)[:-1]]).astype(np.int32)
    lowest, width = count // 2, count // 2  # of the digits, and what scales them into [−1, 1]

    def along(a: np.ndarray, like: jax.Array) -> jax.Array:
        return jnp.asarray(a).reshape((1,) * (like.ndim - 1) + (-1,))

    def quantize(params: Any, tokens: jax.Array, key: jax.Array | None) -> tuple[Codes, jax.Array]:
        del params, key
        bounded = jnp.tanh(tokens + along(shift, tokens)) * along(half, tokens)
        bounded = bounded - along(offset, tokens)
        whole = jnp.round(jax.lax.stop_gradient(bounded))
        digits = (whole + along(lowest, tokens)).astype(jnp.int32)
        indices = jnp.sum(digits * along(radix, tokens), axis=-1)
        features, codes = bounded / along(width, tokens), whole / along(width, tokens)
        posterior = Codes(features, codes, indices, math.prod(levels))
        return posterior, straight_through(features, codes)

    def embed(params: Any, indices: jax.Array) -> jax.Array:
        del params
        index = jnp.maximum(indices, 0)[..., None]
        digits = index // along(radix, index) % along(np.asarray(levels, np.int32), index)
        z = (digits.astype(jnp.float32) - along(lowest, index)) / along(width, index)
        return jnp.where((indices >= 0)[..., None], z, 0.0)

    dim = len(levels)
    return Quantizer(dim, dim, math.prod(levels), (), False, _none, quantize, embed)


def lookup_free(bits: int = 10) -> Quantizer:
    """Lookup-free quantisation (LFQ, MAGVIT-v2, 2310.05737, section 3.1): the sign of each feature.

    z is ±1 in every dimension. No parameters. It needs the two losses of `losses.code_entropies`:
    a low entropy of each token's choice, a high one of their average. Bit i of an index says
    whether dimension i is +1.

    Args:
      bits: dimensions; there are 2^bits codes.

    Raises:
      ValueError: not between 1 and 30 bits.
    """
    if not 1 <= bits <= 30:
        raise ValueError(f"lookup_free takes 1 to 30 bits, found {bits}")
    weights = np.asarray([1 << i for i in range(bits)], np.int32)

    def quantize(params: Any, tokens: jax.Array, key: jax.Array | None) -> tuple[Codes, jax.Array]:
        del params, key
        positive = tokens > 0
        codes = jnp.where(positive, 1.0, -1.0)
        places = jnp.asarray(weights).reshape((1,) * (tokens.ndim - 1) + (-1,))
        indices = jnp.sum(jnp.where(positive, places, 0), axis=-1)
        posterior = Codes(tokens, codes, indices, 2**bits)
        return posterior, straight_through(tokens, codes)

    def embed(params: Any, indices: jax.Array) -> jax.Array:
        del params
        index = jnp.maximum(indices, 0)[..., None]
        places = jnp.arange(bits, dtype=jnp.int32).reshape((1,) * (index.ndim - 1) + (-1,))
        z = jnp.where(index >> places & 1 == 1, 1.0, -1.0)
        return jnp.where((indices >= 0)[..., None], z, 0.0)

    return Quantizer(bits, bits, 2**bits, (), False, _none, quantize, embed)
