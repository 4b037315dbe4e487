"""Random keys as pure functions of (seed, stream, step)."""

import enum
import functools

import jax

from vaejax.core.types import Step

__all__ = ["Stream", "key_of", "key_shape"]


class Stream(enum.IntEnum):
    """The independent streams of random keys, all of them: one for each use.

    The numbers are part of what a seed means: a run gives the same results as long as they stay.
    """

    INIT = 0  # parameters
    STEP = 1  # losses and optimizers of a training step
    DATA = 2  # augmentation, binarisation and dropped conditions of a training batch
    EVALUATION = 3  # the metrics of a whole split
    CONDITIONAL = 4  # the likelihood under a condition
    LIKELIHOOD = 5  # importance sampling
    LATENTS = 6  # a first stage's latents, as data of a second stage
    MUTUAL_INFORMATION = 8
    ANNEALING = 9
    SAMPLE_QUALITY = 10
    PREDICTION = 11
    DISENTANGLEMENT = 12
    METRIC = 13  # metrics from outside the library


def key_of(seed: Step, stream: Stream, step: Step = 0) -> jax.Array:
    """The random key of a step in one of the streams, a pure function; the seed may be traced."""
    key = jax.random.fold_in(jax.random.key(seed), int(stream))
    return jax.random.fold_in(key, step)


@functools.cache
def key_shape() -> jax.ShapeDtypeStruct:
    """The shape and dtype of a random key, for `jax.eval_shape`: compiles nothing."""
    shape: jax.ShapeDtypeStruct = jax.eval_shape(lambda: jax.random.key(0))
    return shape
