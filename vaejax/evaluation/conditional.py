"""Metrics of conditional models: conditional likelihood, and the ELBO of each class."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from vaejax.core.game import Batch, Family, Params, Trace, losses_and_trace
from vaejax.core.registry import register
from vaejax.core.rng import Stream
from vaejax.core.types import PyTree
from vaejax.data import Source
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import is_conditional
from vaejax.losses import event_log_prob
from vaejax.losses.metrics import trace_metrics

__all__ = ["ClassELBO", "conditional_nll", "elbo_per_class"]


def elbo_per_class(context: EvaluationContext) -> dict[str, float]:
    """`elbo/class_k`, nats per example: the mean ELBO of each class that occurs in the split.

    With the samples of z of the evaluation: their mean, weighted by the sizes of the classes, is
    the evaluation's `elbo` (if every example has a class).

    Args:
      context: the model and the split.

    Raises:
      ValueError: the data have no classes.
    """
    if not (classes := context.source.num_classes):
        raise ValueError(f"{context.source.name!r} has no classes")
    losses_fn = losses_and_trace(context.family, training=False)

    def sums(params: Params, batch: Batch, key: jax.Array, mask: jax.Array) -> PyTree:
        losses, trace = losses_fn(params, batch, key, jnp.int32(context.step))
        elbo = trace_metrics(losses, trace)["elbo"].reshape(mask.shape[0], -1).mean(axis=1)
        weight = mask.astype(elbo.dtype)[:, None]
        membership = jax.nn.one_hot(batch["label"], classes) * weight  # [B, K]
        return elbo @ membership, membership.sum(axis=0)

    (totals, counts), _ = context.sum_over_split(sums, Stream.EVALUATION)
    return {f"elbo/class_{k}": float(totals[k] / counts[k]) for k in range(classes) if counts[k]}


@register("metric", "class_elbo")
class ClassELBO:
    """`elbo/class_k`: the mean ELBO of each class, nats per example, of conditional models."""

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: no classes, or a model without a condition."""
        if not source.num_classes:
            return f"{source.name} has no labels"
        if not is_conditional(family, source):
            return "it needs a conditional model"
        return None

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The metrics of a split."""
        return elbo_per_class(context)


def conditional_nll(
    context: EvaluationContext, *, particles: int = 10, examples: int = 0
) -> dict[str, float]:
    """−log p(x | c), nats per example, by two estimators on the same samples z ~ q(z | x, c).

    With the weights log w = log p(x | z, c) + log p(z | c) − log q(z | x, c):
      conditional_nll/recognition: minus their mean, an estimate of −ELBO whatever the number of
        particles. It is what Pyro's tutorial reports as the conditional likelihood.
      conditional_nll/importance: −log mean w (1509.00519, eq. 8; "importance sampling" in Sohn
        et al. 2015, section 5.1): an upper bound that is tight for many particles.

    Args:
      context: the model, whose posteriors need densities, and the split.
      particles: samples of z for each example.
      examples: only this many examples, the first of `eval_order`; 0 for all.
    """

    def log_weight(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        trace: Trace = context.family.model.forward(params, batch, key, None)
        total = event_log_prob(trace.likelihood, trace.x)
        for q, p, z in trace.latents:
            total = total + event_log_prob(p, z) - event_log_prob(q, z)
        return total

    def sums(params: Params, batch: Batch, key: jax.Array, mask: jax.Array) -> PyTree:
        weight = mask.astype(jnp.float32)

        def body(carry: PyTree, number: jax.Array) -> PyTree:
            log_w = log_weight(params, batch, jax.random.fold_in(key, number))
            return (carry[0] + log_w / particles, jnp.logaddexp(carry[1], log_w)), None

        start = jnp.zeros_like(weight), jnp.full_like(weight, -jnp.inf)
        (mean, log_sum), _ = jax.lax.scan(body, start, jnp.arange(particles))
        return -mean @ weight, -(log_sum - jnp.log(float(particles))) @ weight

    totals, size = context.sum_over_split(sums, Stream.CONDITIONAL, examples=examples)
    names = ("conditional_nll/recognition", "conditional_nll/importance")
    return {name: float(value) / size for name, value in zip(names, totals, strict=True)}
