"""Metrics of conditional models: conditional likelihood, and the ELBO of each class."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaejax.core.game import Batch, Family, Params, Trace, losses_and_trace
from vaejax.core.rng import key_of
from vaejax.core.sharding import batch_sharding, make_mesh
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.evaluation.evaluate import sum_over_batches
from vaejax.losses import event_log_prob
from vaejax.losses.metrics import trace_metrics

__all__ = ["conditional_nll", "is_conditional", "per_class"]

CONDITIONAL = 4  # a stream of random keys that neither training nor the evaluator uses


def _sum_over_split(
    sums: Callable[..., Any],
    params: Params,
    source: Source,
    mesh: Mesh | None,
    batch_size: int,
    seed: int,
    limit: int,
    binarize: str,
) -> tuple[Any, int]:
    """Sums of `(params, batch, key, weight [B]) -> sums` over a split, and its examples."""
    prepare = preparation(source, binarize)

    @jax.jit
    def batch_sums(params: Params, rows: Any, mask: jax.Array, number: Any) -> Any:
        key, data_key = jax.random.split(key_of(seed, CONDITIONAL, number))
        return sums(params, prepare(rows, data_key), key, mask.astype(jnp.float32))

    return sum_over_batches(
        lambda rows, mask, number: batch_sums(params, rows, mask, number),
        source,
        batch_sharding(make_mesh() if mesh is None else mesh),
        batch_size,
        limit,
    )


def is_conditional(family: Family, params: Params, source: Source) -> bool:
    """Whether the model reads a condition from the batches of a source; computes nothing."""
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
    """`elbo/class_k`, nats per example: the mean ELBO of each class that occurs in the split.

    Args:
      family: whose model.
      params: of it.
      source: the split.
      mesh: the devices; None for all.
      batch_size: examples at once.
      seed: of the samples of z.
      binarize: as in training.
      step: for losses that depend on it.

    Raises:
      ValueError: the data have no classes.
    """
    if not (classes := source.num_classes):
        raise ValueError(f"{source.name!r} has no classes")
    losses_fn = losses_and_trace(family)

    def sums(params: Params, batch: Batch, key: jax.Array, weight: jax.Array) -> Any:
        elbo = trace_metrics(*losses_fn(params, batch, key, jnp.int32(step)))["elbo"]
        membership = jax.nn.one_hot(batch["label"], classes) * weight[:, None]  # [B, K]
        return elbo @ membership, membership.sum(axis=0)

    (totals, counts), _ = _sum_over_split(sums, params, source, mesh, batch_size, seed, 0, binarize)
    return {f"elbo/class_{k}": float(totals[k] / counts[k]) for k in range(classes) if counts[k]}


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
    """−log p(x | c), nats per example, by two estimators on the same samples z ~ q(z | x, c).

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
      particles: samples of z for each example.
      batch_size: examples at once.
      seed: of the samples of z.
      limit: only this many examples, the first of `eval_order`; 0 for all.
      binarize: as in training.
    """

    def log_weight(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        trace: Trace = family.model.forward(params, batch, key, jnp.zeros((), jnp.int32))
        total = event_log_prob(trace.likelihood, trace.x)
        for q, p, z in trace.latents:
            total = total + event_log_prob(p, z) - event_log_prob(q, z)
        return total

    def sums(params: Params, batch: Batch, key: jax.Array, weight: jax.Array) -> Any:
        def body(carry: Any, number: jax.Array) -> Any:
            log_w = log_weight(params, batch, jax.random.fold_in(key, number))
            return (carry[0] + log_w / particles, jnp.logaddexp(carry[1], log_w)), None

        start = jnp.zeros_like(weight), jnp.full_like(weight, -jnp.inf)
        (mean, log_sum), _ = jax.lax.scan(body, start, jnp.arange(particles))
        return -mean @ weight, -(log_sum - jnp.log(float(particles))) @ weight

    totals, size = _sum_over_split(sums, params, source, mesh, batch_size, seed, limit, binarize)
    names = ("conditional_nll/recognition", "conditional_nll/importance")
    return {name: float(value) / size for name, value in zip(names, totals, strict=True)}
