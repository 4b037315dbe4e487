"""Samples of conditional models, and grids in which only the condition or only z changes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch, Family, Params
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import is_conditional

__all__ = [
    "condition_batch",
    "evenly_spaced_examples",
    "sample_per_condition",
    "vary_condition",
    "vary_latent",
]


def evenly_spaced_examples(context: EvaluationContext, count: int) -> Batch:
    """A batch of `count` examples evenly spaced over the split, which may be sorted by class."""
    indices = np.linspace(0, context.source.size - 1, count).astype(np.int32)
    rows = context.source.take(indices)
    return jax.jit(context.prepare)(rows, jax.random.key(context.seed))


def condition_batch(context: EvaluationContext, count: int) -> Batch | None:
    """A batch of `count` examples whose conditions can be sampled under.

    None for an unconditional model.
    """
    if not is_conditional(context.family, context.source):
        return None
    return evenly_spaced_examples(context, count)


def _take(batch: Batch, indices: Any) -> dict[str, jax.Array]:
    return {name: value[np.asarray(indices)] for name, value in batch.items()}


def _size(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def sample_per_condition(
    family: Family,
    params: Params,
    conditions: Batch,
    key: jax.Array,
    count: int,
    temperature: float | jax.Array = 1.0,
) -> jax.Array:
    """Means of p(x | z, c) at `count` samples of p(z | c) for each condition: `[N, count, ...]`."""
    n = _size(conditions)
    repeated = _take(conditions, np.repeat(np.arange(n), count))
    mean = family.model.generate(params, key, n * count, repeated, temperature).mean
    return mean.reshape(n, count, *mean.shape[1:])


def vary_condition(family: Family, params: Params, batch: Batch, conditions: Batch) -> jax.Array:
    """The z of each example decoded under each condition: `[N, C, ...]`, decoder means.

    z is that of an encoding without a key, the mean of q(z | x, c) under the example's own
    condition. It is the same along a row.
    """
    n, count = _size(batch), _size(conditions)
    nodes = family.model.encode(params, batch, None)
    zs = tuple(jnp.repeat(node.z, count, axis=0) for node in nodes)
    tiled = _take(conditions, np.tile(np.arange(count), n))
    mean = family.model.decode(params, zs, tiled).mean
    return mean.reshape(n, count, *mean.shape[1:])


def vary_latent(
    family: Family, params: Params, conditions: Batch, key: jax.Array, count: int
) -> jax.Array:
    """An interpolation of z under each condition: `[N, count, ...]`, decoder means.

    From one sample of p(z | c) to another, on the quarter circle about the mean. For a Gaussian
    prior every point of it has the distribution of the ends. The condition is the same along a row.

    Args:
      family: whose model.
      params: of it.
      conditions: a batch of whole examples, of whose events only the shapes are used.
      key: of the samples.
      count: points.
    """
    n = _size(conditions)
    angles = np.linspace(0, np.pi / 2, count).astype(np.float32)
    zs = []
    for i, node in enumerate(family.model.encode(params, conditions, key)):
        p, keys = node.prior, jax.random.split(jax.random.fold_in(key, i))
        start, end = (p.sample(k) - p.mean for k in keys)
        points = [p.mean + start * np.cos(a) + end * np.sin(a) for a in angles]
        zs.append(jnp.stack(points, axis=1).reshape(n * count, *start.shape[1:]))
    repeated = _take(conditions, np.repeat(np.arange(n), count))
    mean = family.model.decode(params, tuple(zs), repeated).mean
    return mean.reshape(n, count, *mean.shape[1:])
