"""Random keys as pure functions of (seed, stream, step)."""

from typing import Any

import jax

__all__ = ["DATA", "INIT", "STEP", "key_of"]

INIT, STEP, DATA = range(3)  # independent streams of random keys


def key_of(seed: Any, stream: int, step: Any = 0) -> jax.Array:
    """The random key of a step in one of the streams, a pure function; the seed may be traced."""
    key = jax.random.fold_in(jax.random.key(seed), stream)
    return jax.random.fold_in(key, step)
