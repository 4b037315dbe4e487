"""Splits the average KL into I(x; z) and KL(q(z) ‖ p(z)) of the aggregate posterior q(z)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch, Family, Params
from vaejax.core.registry import register
from vaejax.core.rng import Stream
from vaejax.data import Source
from vaejax.distributions import LOG_2PI, Normal
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import is_conditional, vector_obstacle
from vaejax.losses import event_log_prob

__all__ = [
    "KLDecomposition",
    "MutualInformation",
    "gaussian_kl_decomposition",
    "log_aggregate_posterior",
    "mutual_information_of_split",
]

_EXAMPLES = 10_000


class KLDecomposition(NamedTuple):
    """The two parts of the average KL (Hoffman and Johnson 2016), nats `[]` each.

    Attributes:
      mutual_information: of examples and z under q; at most log N.
      marginal_kl: KL(q(z) ‖ p(z)) of the aggregate posterior q(z) = 1/N Σ q(z | x_n).
    """

    mutual_information: jax.Array
    marginal_kl: jax.Array


def _gaussian_log_aggregate_posterior(
    z: jax.Array, loc: jax.Array, scale: jax.Array, chunk: int = 256
) -> jax.Array:
    """`log_aggregate_posterior` of the posteriors N(loc, scale²), `[N, D]` each."""
    n, dim = loc.shape
    constant = -jnp.log(scale).sum(axis=1) - 0.5 * dim * LOG_2PI  # [N]

    def aggregate(z: jax.Array) -> jax.Array:  # [c, D] -> [c]
        # One dimension at a time: expanding the squares into matrix products would cancel
        # catastrophically where a posterior is narrow and far from 0.
        def add(d: jax.Array, logs: jax.Array) -> jax.Array:
            deviation = (z[:, d, None] - loc[None, :, d]) / scale[None, :, d]
            return logs - 0.5 * jnp.square(deviation)

        start = jnp.broadcast_to(constant[None], (len(z), n))
        return jax.nn.logsumexp(jax.lax.fori_loop(0, dim, add, start), axis=1) - jnp.log(float(n))

    padded = jnp.pad(z, ((0, -len(z) % chunk), (0, 0))).reshape(-1, chunk, dim)
    return jax.lax.map(aggregate, padded).reshape(-1)[: len(z)]


def log_aggregate_posterior(z: jax.Array, q: Any, chunk: int = 16) -> jax.Array:
    """log q(z) `[n]` of z `[n, D]` under q(z) = 1/N Σ q(z | x_n), for any posteriors.

    Args:
      z: samples.
      q: the N posteriors, a distribution whose arrays have a leading axis of N.
      chunk: samples that are compared with all posteriors at once.
    """
    if isinstance(q, Normal):  # the same, several times as fast
        return _gaussian_log_aggregate_posterior(z, q.loc, q.scale)
    count = jax.tree.leaves(q)[0].shape[0]

    def aggregate(z: jax.Array) -> jax.Array:  # [c, D] -> [c]
        def log_probs(z: jax.Array) -> jax.Array:  # [D] -> [N]
            return event_log_prob(q, jnp.broadcast_to(z[None], (count, z.shape[0])))

        return jax.nn.logsumexp(jax.vmap(log_probs)(z), axis=1) - jnp.log(float(count))

    padded = jnp.pad(z, ((0, -len(z) % chunk), (0, 0)), mode="edge")
    return jax.lax.map(aggregate, padded.reshape(-1, chunk, z.shape[1])).reshape(-1)[: len(z)]


def gaussian_kl_decomposition(
    loc: jax.Array,
    scale: jax.Array,
    prior: Any,
    key: jax.Array,
    *,
    samples: int = 1,
    chunk: int = 256,
) -> KLDecomposition:
    """Mutual information and marginal KL of Gaussian posteriors, from samples of z.

    log q(z) sums over all N posteriors, in blocks, so memory grows linearly with N.

    Args:
      loc: means of q(z | x_n), `[N, D]`.
      scale: their standard deviations.
      prior: p(z), whose `log_prob` takes `[n, D]` and is elementwise.
      key: of the samples.
      samples: of z for each example.
      chunk: samples that are compared with all posteriors at once.
    """

    def per_sample(key: jax.Array) -> KLDecomposition:
        z = loc + scale * jax.random.normal(key, loc.shape)
        log_q = -0.5 * (jnp.square((z - loc) / scale) + LOG_2PI) - jnp.log(scale)
        log_aggregate = _gaussian_log_aggregate_posterior(z, loc, scale, chunk)
        return KLDecomposition(
            (log_q.sum(axis=1) - log_aggregate).mean(),
            (log_aggregate - prior.log_prob(z).sum(axis=1)).mean(),
        )

    estimates = jax.lax.map(per_sample, jax.random.split(key, samples))
    return jax.tree.map(lambda a: a.mean(), estimates)


def mutual_information_of_split(context: EvaluationContext, examples: int = 0) -> dict[str, float]:
    """`mutual_information` and `marginal_kl` of a split, nats: their sum is its average KL.

    From one sample of z for each example, and the sum over the posteriors of all examples. The
    mutual information of N examples is at most log N: compare values of the same N only.

    Args:
      context: the model, with one continuous vector, and the split.
      examples: N, the first of `eval_order`; 0 for all.
    """

    def encode(params: Params, batch: Batch, key: jax.Array) -> tuple[Any, ...]:
        (node,) = context.family.model.encode(params, batch, key)
        q, p, z = node
        return q, z, event_log_prob(q, z), event_log_prob(p, z)

    encoded = context.rows_of_split(encode, Stream.MUTUAL_INFORMATION, examples=examples)
    q, z, log_q, log_prior = encoded
    log_aggregate = np.asarray(jax.jit(log_aggregate_posterior)(z, q), np.float64)
    return {
        "mutual_information": float((log_q - log_aggregate).mean()),
        "marginal_kl": float((log_aggregate - log_prior).mean()),
    }


@register("metric", "mutual_information")
class MutualInformation:
    """`mutual_information` and `marginal_kl`, nats: see `mutual_information_of_split`.

    Of `evaluate.mutual_information_samples` examples; of 10,000 if the metric is selected by its
    name alone.
    """

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: latents other than one continuous vector, or a condition."""
        if is_conditional(family, source):
            return (
                "it needs one prior p(z) for all examples; the prior of this model depends on a "
                "condition"
            )
        return vector_obstacle(family, source)

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The metrics of a split."""
        examples = context.options.mutual_information_samples or _EXAMPLES
        return mutual_information_of_split(context, examples)
