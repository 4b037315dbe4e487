"""Means of losses and metrics over a whole split, each example counted once."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaejax.core.game import Family, Params, losses_and_trace
from vaejax.core.rng import Stream, key_of
from vaejax.core.sharding import batch_sharding, check_batch, replicated
from vaejax.core.tensor_axis import using_mesh
from vaejax.core.types import Losses, PyTree, Step
from vaejax.data import Source
from vaejax.data.map_split import sum_over_split
from vaejax.data.preprocess import Prepare, preparation
from vaejax.distributions import capabilities_of
from vaejax.losses.metrics import UsedCodes, code_counts, trace_metrics

__all__ = ["batch_sums", "evaluator", "metric_names", "metrics_of_sums"]


class _Moments(NamedTuple):
    """Number of examples `[...]`, their mean and sum of squared deviations from it, `[..., D]`.

    Sums of squares would lose the variance of means far from zero in their rounding.
    """

    count: jax.Array  # type: ignore[assignment]  # tuples have a method `count`
    mean: jax.Array
    scatter: jax.Array

    @classmethod
    def of_batch(cls, x: jax.Array, weight: jax.Array) -> "_Moments":
        """Of x `[B, D]` with weights `[B]`."""
        count = weight.sum()
        mean = weight @ x / jnp.maximum(count, 1e-6)
        return cls(count, mean, weight @ jnp.square(x - mean[None]))

    def merge(self, other: "_Moments") -> "_Moments":
        """Of both together (Chan et al., "Updating formulae", 1979)."""
        count = self.count + other.count
        share = (other.count / np.maximum(count, 1e-6))[..., None]
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter + self.count[..., None] * share * np.square(shift)
        return _Moments(count, self.mean + share * shift, scatter)


_ACTIVE = 0.01  # variance of the posterior mean of an active unit (1509.00519, section 5.2)


def batch_sums(family: Family, prepare: Prepare) -> Callable[..., PyTree]:
    """`(seed, params, rows, mask, number, step) -> sums` over one batch of an evaluation.

    Returns a function whose result has three parts, over the examples where the mask is true: sums
    of the metrics, how often each code was used, and the first two moments of the posterior means.
    """
    losses_fn = losses_and_trace(family, training=False)
    of_batch = family.losses.batch_statistics

    def sums(
        seed: Step, params: Params, rows: PyTree, mask: jax.Array, number: Step, step: Step
    ) -> tuple[Losses, dict[int, jax.Array | UsedCodes], dict[int, _Moments]]:
        key, data_key = jax.random.split(key_of(seed, Stream.EVALUATION, number))
        losses, trace = losses_fn(params, prepare(rows, data_key), key, step)
        samples = trace.x.shape[0] // mask.shape[0]  # of each example, in adjacent rows
        mask = jnp.repeat(mask, samples)
        weight = mask.astype(jnp.float32) / samples
        counts = code_counts(trace, mask)
        one = len(trace.latents) == 1
        counted = {"perplexity" if one else f"perplexity/{i}" for i in counts}
        named = {
            f"batch/{k}" if k in of_batch or k.startswith("perplexity") else k: (
                (v * weight).sum() if v.ndim else v * weight.sum()
            )
            for k, v in trace_metrics(losses, trace).items()
            if k not in counted  # those are of the whole split, see `metrics_of_sums`
        }
        means = {
            i: node.posterior.mean.reshape(mask.shape[0], -1)
            for i, node in enumerate(trace.latents)
            if capabilities_of(node.posterior).continuous
        }
        moments = {i: _Moments.of_batch(mean, weight) for i, mean in means.items()}
        return named, counts, moments

    return sums


def _perplexity(counts: np.ndarray) -> float:
    """`losses.metrics.perplexity` of the counts of a whole split, `[S, K]`, in float64."""
    p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1)
    return float(np.exp(entropy).mean())


def metrics_of_sums(total: PyTree, size: int) -> dict[str, float]:
    """The metrics of `size` examples, from the sums of `batch_sums` over these."""
    named, counts, moments = total
    nodes = max((1 + i for i in (*counts, *moments)), default=0)
    result = {name: float(value) / size for name, value in named.items()}

    def add_per_node(
        name: str, per_node: dict[int, float], aggregate: Callable[..., float]
    ) -> None:
        if per_node:
            result[name] = float(aggregate(list(per_node.values())))
        if len(per_node) > 1:
            result.update({f"{name}/{i}": value for i, value in per_node.items()})

    used = {}
    for i, c in counts.items():
        count, codes = (c.counts, c.size) if isinstance(c, UsedCodes) else (c, c.shape[1])
        used[i] = float((count > 0).sum(axis=1).mean() / max(codes, 1))
        result["perplexity" if nodes == 1 else f"perplexity/{i}"] = _perplexity(count)
    variance = {i: m.scatter / np.maximum(m.count, 1e-6) for i, m in moments.items()}
    active = {i: float((v > _ACTIVE).sum()) for i, v in variance.items()}
    add_per_node("codes_used", used, np.mean)
    add_per_node("active_units", active, np.sum)
    return result


def metric_names(
    family: Family, params: Params, source: Source, *, binarize: str = "none"
) -> tuple[str, ...]:
    """The names of the metrics of `evaluator`, without computing any.

    Args:
      family: whose model.
      params: its parameters, or their shapes.
      source: the split.
      binarize: as in training.
    """
    sums = batch_sums(family, preparation(source, binarize))
    rows, mask = source.take(np.zeros(2, np.int32)), np.ones(2, bool)
    args = jnp.int32(0), params, rows, mask, np.uint32(0), np.int32(0)
    shapes = jax.eval_shape(sums, *args)
    return tuple(metrics_of_sums(jax.tree.map(lambda s: np.zeros(s.shape), shapes), 1))


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
      varies, 1509.00519, section 5.2), `perplexity` of the codes of the split. A loss that is a
      statistic of the batch, such as `mmd`, is averaged over batches, under the name `batch/mmd`.
    """
    check_batch(mesh, batch_size)
    sums_of = functools.partial(batch_sums(family, preparation(source, binarize)), seed)

    def seeded(*arguments: PyTree) -> PyTree:
        with using_mesh(mesh):
            return sums_of(*arguments)

    compiled = jax.jit(seeded, out_shardings=replicated(mesh))

    def evaluate(params: Params, step: int, limit: int = 0) -> dict[str, float]:
        def sums(rows: PyTree, mask: jax.Array, number: np.uint32) -> PyTree:
            return compiled(params, rows, mask, number, np.int32(step))

        total = sum_over_split(sums, source, batch_size, limit=limit, sharding=batch_sharding(mesh))
        return metrics_of_sums(total, min(limit, source.size) if limit else source.size)

    return evaluate
