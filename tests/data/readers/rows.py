"""Random images, and the decoded rows of a source."""

import jax
import numpy as np


def images(count=20, shape=(6, 5, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def decoded(source, indices=None):
    indices = np.arange(source.size) if indices is None else np.asarray(indices)
    return jax.device_get(jax.jit(source.decode)(source.take(indices)))
