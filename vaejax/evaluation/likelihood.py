"""log p(x) by importance sampling, comparable between models that were trained on any bound."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from vaejax.core.events import event
from vaejax.core.game import Batch, Family, Latent, Model, Params
from vaejax.core.registry import register
from vaejax.core.rng import Stream
from vaejax.data import Source
from vaejax.distributions import capabilities_of
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import latent_shapes
from vaejax.losses import event_log_prob, sampled_kl

__all__ = ["Likelihood", "importance_sampled", "importance_sampling_obstacle", "log_likelihood"]

_SAMPLES = 100  # of z for each example


def log_likelihood(
    model: Model, samples: int, chunk: int = 50
) -> Callable[[Params, Batch, jax.Array], jax.Array]:
    """`(params, batch, key) -> log p(x)` `[B]` in nats, estimated from `samples` samples of z.

    log (1/K) Σ_k p(x | z_k) p(z_k) / q(z_k | x) (IWAE, 1509.00519, eq. 8 and section 5): a lower
    bound on average, tight for large K. Every node of the model is sampled; under a condition it is
    log p(x | c). Each sample has its own key, so the result does not depend on the chunk size.

    Args:
      model: whose `encode` and `decode`.
      samples: K.
      chunk: samples computed at once, which bounds the memory; rounded down to a divisor of K.

    Raises:
      ValueError: fewer than one sample; or, when called, a node that holds codes.
    """
    if samples < 1 or chunk < 1:
        raise ValueError(
            f"importance sampling needs at least one sample, found samples={samples}, chunk={chunk}"
        )
    chunk = max(n for n in range(1, min(chunk, samples) + 1) if samples % n == 0)

    def log_weight(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        latents = model.encode(params, batch, key)
        p = model.decode(params, tuple(node.z for node in latents), batch)
        kl = jnp.stack([sampled_kl(node) for node in latents]).sum(axis=0)
        return event_log_prob(p, event(batch)) - kl

    # What does not depend on the key, as the features of x, is computed once per chunk.
    log_weights = jax.vmap(log_weight, in_axes=(None, None, 0))  # [chunk, B]

    def estimate(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        def add(total: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
            numbers = number * chunk + jnp.arange(chunk)
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)
            part = jax.nn.logsumexp(log_weights(params, batch, keys), axis=0)
            return jnp.logaddexp(total, part), None

        start = jnp.full(event(batch).shape[0], -jnp.inf)
        total, _ = jax.lax.scan(add, start, jnp.arange(samples // chunk))
        return total - jnp.log(float(samples))

    return jax.jit(estimate)


def importance_sampling_obstacle(nodes: Sequence[Latent]) -> str | None:
    """Why the likelihood of a model cannot be estimated by importance sampling; None if it can.

    Args:
      nodes: of the model, as arrays or shapes.
    """
    if not nodes or not all(capabilities_of(node.posterior).continuous for node in nodes):
        kinds = ", ".join(type(node.posterior).__name__ for node in nodes)
        return (
            "it needs a model whose posteriors have densities, such as Gaussian ones; the "
            f"posteriors of this model are: {kinds or 'none'}"
        )
    if any(capabilities_of(node.prior).monte_carlo_kl for node in nodes):
        return (
            "it needs a model of p(x) of the whole event; this one is trained on pairs of "
            "times of a sequence (see its prediction errors mse_rollout/h)"
        )
    return None


def importance_sampled(
    context: EvaluationContext, samples: int, *, examples: int = 0, chunk: int = 50
) -> float:
    """The mean log-likelihood of a split, nats per example, by `log_likelihood`.

    Args:
      context: the model and the split.
      samples: of z for each example.
      examples: number of examples, the first of `eval_order`; 0 for all.
      chunk: samples computed at once.
    """
    estimate = log_likelihood(context.family.model, samples, chunk)

    def batch_sum(params: Params, batch: Batch, key: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(mask, estimate(params, batch, key), 0.0))

    total, size = context.sum_over_split(batch_sum, Stream.LIKELIHOOD, examples=examples)
    return float(total) / size


@register("metric", "likelihood")
class Likelihood:
    """`log_likelihood`: log p(x) by importance sampling, nats per example.

    From `evaluate.importance_samples` samples of z for each of `evaluate.examples` examples; from
    100 samples if the metric is selected by its name alone.
    """

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: codes as latents, or a model of a part of the event."""
        return importance_sampling_obstacle(latent_shapes(family, source))

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The metric of a split."""
        options = context.options
        samples = options.importance_samples or _SAMPLES
        return {"log_likelihood": importance_sampled(context, samples, examples=options.examples)}
