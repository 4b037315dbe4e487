"""Judging conditional models: likelihood of what was asked, class by class, and what c and z do."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaejax.core.game import Batch, Family, Params, Trace, losses_and_trace
from vaejax.core.rng import key_of
from vaejax.core.sharding import batch_sharding, make_mesh, put
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import preparation
from vaejax.losses import event_log_prob
from vaejax.losses.metrics import figures

CONDITIONAL = 4  # a stream of random keys that neither training nor the evaluator uses


def _sum_over_split(
    judge: Callable[..., Any],
    params: Params,
    source: Source,
    mesh: Mesh | None,
    batch_size: int,
    seed: int,
    limit: int,
    binarize: str,
) -> Any:
    """Sums, in float64, of what `(params, batch, key, weight [B]) -> tree` makes of a split."""
    prepare = preparation(source, binarize)
    mesh = make_mesh() if mesh is None else mesh

    @jax.jit
    def part(params: Params, rows: Any, mask: jax.Array, number: Any) -> Any:
        key, data_key = jax.random.split(key_of(seed, CONDITIONAL, number))
        return judge(params, prepare(rows, data_key), key, mask.astype(jnp.float32))

    total: Any = None
    for number, (indices, mask) in enumerate(eval_batches(source.size, batch_size, limit)):
        rows = put(batch_sharding(mesh), source.take(indices) | {"": mask})
        counts = rows.pop("")
        sums = jax.tree.map(
            lambda a: np.asarray(a, np.float64), part(params, rows, counts, jnp.uint32(number))
        )
        total = sums if total is None else jax.tree.map(np.add, total, sums)
    return total


def is_conditional(family: Family, params: Params, source: Source) -> bool:
    """Whether the model reads a condition off the batches of a source; computes nothing."""
    prepare, rows = preparation(source), source.take(np.zeros(1, np.int32))

    def condition(params: Params, rows: Any, key: jax.Array) -> Any:
        return family.model.forward(params, prepare(rows, key), key, jnp.int32(0)).condition

    return jax.eval_shape(condition, params, rows, jax.random.key(0)) is not None


def per_class(
    family: Family,
    params: Params,
    source: Source,
    mesh: Mesh | None = None,
    *,
    batch_size: int = 128,
    seed: int = 0,
    binarize: str = "none",
    step: int = 0,
) -> dict[str, float]:
    """`elbo/class_k`, nats per example: the mean ELBO of each class that the split has.

    Args:
      family: whose model.
      params: of it.
      source: the split.
      mesh: the devices; None for all.
      batch_size: examples at once.
      seed: of the draws.
      binarize: as in training.
      step: for losses that depend on it.

    Raises:
      ValueError: the data have no classes.
    """
    if not (classes := source.num_classes):
        raise ValueError(f"{source.name!r} has no classes to tell apart")
    losses_fn = losses_and_trace(family)

    def judge(params: Params, batch: Batch, key: jax.Array, weight: jax.Array) -> Any:
        elbo = figures(*losses_fn(params, batch, key, jnp.int32(step)))["elbo"]
        share = jax.nn.one_hot(batch["label"], classes) * weight[:, None]  # [B, K]
        return elbo @ share, share.sum(axis=0)

    sums, counts = _sum_over_split(judge, params, source, mesh, batch_size, seed, 0, binarize)
    return {f"elbo/class_{k}": float(sums[k] / counts[k]) for k in range(classes) if counts[k]}


def conditional_nll(
    family: Family,
    params: Params,
    source: Source,
    mesh: Mesh | None = None,
    *,
    particles: int = 10,
    batch_size: int = 128,
    seed: int = 0,
    limit: int = 0,
    binarize: str = "none",
) -> dict[str, float]:
    """−log p(x | c), nats per example, estimated by two uses of the same draws z ~ q(z | x, c).

    With the weights log w = log p(x | z, c) + log p(z | c) − log q(z | x, c):
      conditional_nll/recognition: minus their mean, an estimate of −ELBO whatever the number of
        particles. It is what Pyro's tutorial reports as the conditional likelihood.
      conditional_nll/importance: −log mean w (1509.00519, eq. 8; "importance sampling" in Sohn
        et al. 2015, section 5.1): an upper bound that is tight for many particles.

    Args:
      family: whose model; its posteriors need densities.
      params: of it.
      source: the split.
      mesh: the devices; None for all.
      particles: draws for each example.
      batch_size: examples at once.
      seed: of the draws.
      limit: only this many examples, the first of `eval_order`; 0 for all.
      binarize: as in training.
    """
    size = min(limit, source.size) if limit else source.size

    def log_weight(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        trace: Trace = family.model.forward(params, batch, key, jnp.zeros((), jnp.int32))
        total = event_log_prob(trace.likelihood, trace.x)
        for q, p, z in trace.latents:
            total = total + event_log_prob(p, z) - event_log_prob(q, z)
        return total

    def judge(params: Params, batch: Batch, key: jax.Array, weight: jax.Array) -> Any:
        def body(carry: Any, number: jax.Array) -> Any:
            log_w = log_weight(params, batch, jax.random.fold_in(key, number))
            return (carry[0] + log_w / particles, jnp.logaddexp(carry[1], log_w)), None

        start = jnp.zeros_like(weight), jnp.full_like(weight, -jnp.inf)
        (mean, log_sum), _ = jax.lax.scan(body, start, jnp.arange(particles))
        return -mean @ weight, -(log_sum - jnp.log(float(particles))) @ weight

    sums = _sum_over_split(judge, params, source, mesh, batch_size, seed, limit, binarize)
    names = ("conditional_nll/recognition", "conditional_nll/importance")
    return {name: float(value) / size for name, value in zip(names, sums, strict=True)}


def _take(batch: Batch, indices: Any) -> dict[str, jax.Array]:
    return {name: value[np.asarray(indices)] for name, value in batch.items()}


def sample_given(
    family: Family,
    params: Params,
    given: Batch,
    key: jax.Array,
    count: int,
    temperature: float | jax.Array = 1.0,
) -> jax.Array:
    """Means of p(x | z, c) at `count` draws from p(z | c) for each condition: `[N, count, ...]`."""
    n = len(next(iter(given.values())))
    wide = _take(given, np.repeat(np.arange(n), count))
    mean = family.model.generate(params, key, n * count, wide, temperature).mean
    return mean.reshape(n, count, *mean.shape[1:])


def vary_condition(family: Family, params: Params, batch: Batch, given: Batch) -> jax.Array:
    """The z of each example under each condition: `[N, C, ...]`, decoder means.

    z is the mean of q(z | x, c) under the example's own condition; along a row it stays.
    """
    n, count = (len(next(iter(b.values()))) for b in (batch, given))
    nodes = family.model.encode(params, batch, jax.random.key(0))
    zs = tuple(jnp.repeat(node.posterior.mean, count, axis=0) for node in nodes)
    mean = family.model.decode(params, zs, _take(given, np.tile(np.arange(count), n))).mean
    return mean.reshape(n, count, *mean.shape[1:])


def vary_latent(
    family: Family, params: Params, given: Batch, key: jax.Array, count: int
) -> jax.Array:
    """A walk of z under each condition: `[N, count, ...]`, decoder means.

    From one draw of p(z | c) to another, on the quarter circle about the mean on which every
    point is, for a Gaussian, distributed as the ends are. Along a row the condition stays.

    Args:
      family: whose model.
      params: of it.
      given: conditions, in whole examples (their events tell only shapes).
      key: of the draws.
      count: steps.
    """
    n = len(next(iter(given.values())))
    angles = np.linspace(0, np.pi / 2, count).astype(np.float32)
    zs = []
    for i, node in enumerate(family.model.encode(params, given, key)):
        p, (one, other) = node.prior, jax.random.split(jax.random.fold_in(key, i))
        start, end = p.sample(one) - p.mean, p.sample(other) - p.mean
        along = [p.mean + start * np.cos(a) + end * np.sin(a) for a in angles]
        zs.append(jnp.stack(along, axis=1).reshape(n * count, *start.shape[1:]))
    wide = _take(given, np.repeat(np.arange(n), count))
    mean = family.model.decode(params, tuple(zs), wide).mean
    return mean.reshape(n, count, *mean.shape[1:])
