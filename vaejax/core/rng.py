"""Random keys as pure functions of (seed, stream, step)."""

import jax

from vaejax.core.types import Step

__all__ = ["DATA", "INIT", "STEP", "key_of"]

INIT, STEP, DATA = range(3)  # independent streams of random keys


def key_of(seed: Step, stream: int, step: Step = 0) -> jax.Array:
    """The random key of a step in one of the streams, a pure function; the seed may be traced."""
    key = jax.random.fold_in(jax.random.key(seed), stream)
    return jax.random.fold_in(key, step)
