"""Binary spherical quantisation (2406.07548): the corners of a cube on a sphere."""

from typing import Any

import jax
import jax.numpy as jnp

import vaejax
from vaejax.distributions import OneHotCodes
from vaejax.quantizers import Quantizer, straight_through


@vaejax.register("quantizer", "binary_spherical")
def binary_spherical(bits: int = 8) -> Quantizer:
    """Tokens on the unit sphere become its nearest point with all coordinates ±1/√bits.

    No parameters. Bit i of an index is 1 where coordinate i is positive. The commitment is the loss
    `vq`; `losses.code_entropies` of temperature 2 √bits / τ are the paper's two entropies.

    Args:
      bits: dimensions of a token; there are 2^bits codes.

    Raises:
      ValueError: not between 1 and 30 bits.
    """
    if not 1 <= bits <= 30:
        raise ValueError(f"binary_spherical takes 1 to 30 bits, found {bits}")

    def corners(positive: jax.Array) -> jax.Array:
        return jnp.where(positive, 1.0, -1.0) * bits**-0.5

    def quantize(
        params: Any, tokens: jax.Array, key: jax.Array | None
    ) -> tuple[OneHotCodes, jax.Array]:
        squares = jnp.sum(tokens * tokens, axis=-1, keepdims=True)
        on_sphere = tokens * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))
        positive = on_sphere > 0
        codes = corners(positive)
        indices = positive.astype(jnp.int32) @ jnp.asarray([2**i for i in range(bits)], jnp.int32)
        q = OneHotCodes(on_sphere, codes, indices, 2**bits)
        return q, straight_through(on_sphere, codes)

    def embed(params: Any, indices: jax.Array) -> jax.Array:
        z = corners(jnp.stack([(indices >> i) & 1 for i in range(bits)], axis=-1) == 1)
        return jnp.where(indices[..., None] >= 0, z, 0.0)

    return Quantizer(
        dim=bits,
        z_dim=bits,
        size=2**bits,
        shape=(),
        has_params=False,
        init=lambda key, tokens: {},
        quantize=quantize,
        embed=embed,
    )
