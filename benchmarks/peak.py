"""The peak rates of this machine."""

import time
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["peaks"]


def peaks(dtype: Any) -> dict[str, float]:
    """FLOP/s of a large matrix product and bytes/s of a large copy."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)  # zeros would be faster
    product, copy = jax.jit(lambda a: a @ a), jax.jit(lambda a: a + 1)
    large = jnp.ones((64 if jax.default_backend() == "cpu" else 512) * 2**20 // 4)

    def shortest(f: Any, x: jax.Array) -> float:
        jax.block_until_ready(f(x))
        times = []
        for _ in range(10):
            start = time.perf_counter()
            jax.block_until_ready(f(x))
            times.append(time.perf_counter() - start)
        return min(times)

    return {
        "flops": 2 * size**3 / shortest(product, a),
        "bytes": 2 * large.nbytes / shortest(copy, large),
    }
