"""Means of losses and metrics over a whole split, each example counted once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from vaejax.core.game import Family, Params, losses_and_trace
from vaejax.core.rng import key_of
from vaejax.core.sharding import batch_sharding, check_batch, put, replicated
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import Prepare, preparation
from vaejax.distributions import capabilities_of
from vaejax.losses.metrics import code_counts, trace_metrics

__all__ = ["EVAL", "batch_sums", "evaluator", "metrics_of_sums", "sum_over_batches"]

EVAL = 3  # a stream of random keys that training does not use
_ACTIVE = 0.01  # variance of the posterior mean of an active unit (1509.00519, section 5.2)


def batch_sums(family: Family, prepare: Prepare) -> Callable[..., Any]:
    """`(seed, params, rows, mask, number, step) -> sums` over one batch of an evaluation.

    Returns a function whose result has three parts, over the examples where the mask is true: sums
    of the metrics, how often each code was used, and sums of the posterior means and their squares.
    """
    losses_fn = losses_and_trace(family, training=False)

    def sums(
        seed: Any, params: Params, rows: Any, mask: jax.Array, number: Any, step: Any
    ) -> tuple[Any, Any, Any]:
        key, data_key = jax.random.split(key_of(seed, EVAL, number))
        losses, trace = losses_fn(params, prepare(rows, data_key), key, step)
        samples = trace.x.shape[0] // mask.shape[0]  # of each example, in adjacent rows
        mask = jnp.repeat(mask, samples)
        weight = mask.astype(jnp.float32) / samples
        named = {
            k: (v * weight).sum() if v.ndim else v * weight.sum()
            for k, v in trace_metrics(losses, trace).items()
        }
        means = {
            i: node.posterior.mean.reshape(mask.shape[0], -1)
            for i, node in enumerate(trace.latents)
            if capabilities_of(node.posterior).continuous
        }
        moments = {
            i: (weight @ mean, weight @ jnp.square(mean)) for i, mean in means.items()
        }  # [D] each
        return named, code_counts(trace, mask), moments

    return sums


def sum_over_batches(
    sums: Callable[[Any, jax.Array, Any], Any],
    source: Source,
    sharding: NamedSharding,
    batch_size: int,
    limit: int,
) -> tuple[Any, int]:
    """Sums over all batches of a split, float64 on the host, and the number of their examples.

    Args:
      sums: `(rows, mask, number of the batch) -> sums over the batch`.
      source: the split.
      sharding: of the rows on the devices.
      batch_size: examples at once.
      limit: only this many examples; 0 for all.
    """
    total: Any = None
    for number, (indices, mask) in enumerate(eval_batches(source.size, batch_size, limit)):
        arrays = put(sharding, source.take(indices) | {"": mask})
        mask_array = arrays.pop("")
        part = sums(arrays, mask_array, np.uint32(number))
        part = jax.tree.map(lambda a: np.asarray(a, np.float64), part)
        total = part if total is None else jax.tree.map(np.add, total, part)
    return total, min(limit, source.size) if limit else source.size


def metrics_of_sums(total: Any, size: int) -> dict[str, float]:
    """The metrics of `size` examples, from the sums of `batch_sums` over these."""
    named, counts, moments = total
    result = {name: float(value) / size for name, value in named.items()}

    def add_per_node(
        name: str, per_node: dict[int, float], aggregate: Callable[..., float]
    ) -> None:
        if per_node:
            result[name] = float(aggregate(list(per_node.values())))
        if len(per_node) > 1:
            result.update({f"{name}/{i}": value for i, value in per_node.items()})

    used = {i: float((c > 0).mean()) for i, c in counts.items()}
    variance = {i: s2 / size - (s / size) ** 2 for i, (s, s2) in moments.items()}
    active = {i: float((v > _ACTIVE).sum()) for i, v in variance.items()}
    add_per_node("codes_used", used, np.mean)
    add_per_node("active_units", active, np.sum)
    return result


def evaluator(
    family: Family,
    source: Source,
    mesh: Mesh,
    *,
    batch_size: int,
    seed: int = 0,
    binarize: str = "none",
) -> Callable[..., dict[str, float]]:
    """A compiled evaluation of a split.

    The samples of z, and of binarised images, depend on the seed and the example alone, so two
    models, or two checkpoints of one, are evaluated with the same noise.

    Args:
      family: whose model.
      source: the split.
      mesh: the devices.
      batch_size: examples at once.
      seed: of the noise.
      binarize: as in training.

    Returns:
      `(params, step, limit=0) -> metrics` of `limit` examples (the first of `eval_order`, a random
      order), or of all: means of every loss, `elbo`, `mse`, and for suitable latents `codes_used`
      (fraction of the codebook over the whole split) and `active_units` (units whose posterior mean
      varies, 1509.00519, section 5.2). A statistic of the batch is averaged over batches.
    """
    check_batch(mesh, batch_size)
    seeded = functools.partial(batch_sums(family, preparation(source, binarize)), seed)
    compiled = jax.jit(seeded, out_shardings=replicated(mesh))

    def evaluate(params: Params, step: int, limit: int = 0) -> dict[str, float]:
        def sums(rows: Any, mask: jax.Array, number: Any) -> Any:
            return compiled(params, rows, mask, number, np.int32(step))

        total, size = sum_over_batches(sums, source, batch_sharding(mesh), batch_size, limit)
        return metrics_of_sums(total, size)

    return evaluate
