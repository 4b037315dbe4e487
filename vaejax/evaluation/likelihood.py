"""log p(x) by importance sampling, comparable between models that were trained on any bound."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vaejax.core.events import event
from vaejax.core.game import Batch, Family, Latent, Model, Params
from vaejax.core.rng import key_of
from vaejax.core.sharding import batch_sharding, check_batch, make_mesh, replicated
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.distributions import capabilities_of
from vaejax.evaluation.evaluate import sum_over_batches
from vaejax.losses import event_log_prob, sampled_kl

__all__ = ["LIKELIHOOD", "check_importance_sampling", "importance_sampled", "log_likelihood"]

LIKELIHOOD = 5  # a separate stream of random keys


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


def check_importance_sampling(what: str, nodes: Sequence[Latent]) -> None:
    """Checks that the likelihood of a model can be estimated by importance sampling.

    Args:
      what: needs it, for errors.
      nodes: of the model, as arrays or shapes.

    Raises:
      ValueError: a posterior has no density, or the model is not one of the whole event.
    """
    if not nodes or not all(capabilities_of(node.posterior).continuous for node in nodes):
        kinds = ", ".join(type(node.posterior).__name__ for node in nodes)
        raise ValueError(
            f"{what} needs a model whose posteriors have densities, such as Gaussian ones; the "
            f"posteriors of this model are: {kinds or 'none'}"
        )
    if any(capabilities_of(node.prior).monte_carlo_kl for node in nodes):
        raise ValueError(
            f"{what} needs a model of p(x) of the whole event; this one is trained on pairs of "
            "times of a sequence (see its prediction errors mse_rollout/h)"
        )


def importance_sampled(
    family: Family,
    source: Source,
    params: Params,
    *,
    samples: int,
    examples: int = 0,
    chunk: int = 50,
    batch_size: int = 100,
    seed: int = 0,
    binarize: str = "none",
    mesh: Mesh | None = None,
) -> float:
    """The mean log-likelihood of a split, nats per example, by `log_likelihood`.

    Args:
      family: whose model.
      source: the split.
      params: of the model.
      samples: of z for each example.
      examples: number of examples, the first of `eval_order`; 0 for all.
      chunk: samples computed at once.
      batch_size: examples at once.
      seed: of the samples of z, and of binarised images.
      binarize: as in training.
      mesh: the devices; None for one.
    """
    mesh = make_mesh(1) if mesh is None else mesh
    check_batch(mesh, batch_size)
    prepare, estimate = preparation(source, binarize), log_likelihood(family.model, samples, chunk)

    def batch_sum(params: Params, rows: Any, mask: jax.Array, number: Any) -> jax.Array:
        key, data_key = jax.random.split(key_of(seed, LIKELIHOOD, number))
        return jnp.sum(jnp.where(mask, estimate(params, prepare(rows, data_key), key), 0.0))

    compiled = jax.jit(batch_sum, out_shardings=replicated(mesh))
    total, size = sum_over_batches(
        lambda rows, mask, number: compiled(params, rows, mask, number),
        source,
        batch_sharding(mesh),
        batch_size,
        examples,
    )
    return float(total) / size
