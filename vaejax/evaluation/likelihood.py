"""log p(x) by importance sampling: how good a model is, whatever bound it was trained by."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaejax.core.events import event
from vaejax.core.game import Batch, Family, Model, Params
from vaejax.core.rng import key_of
from vaejax.core.sharding import batch_sharding, check_batch, make_mesh, put, replicated
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import preparation
from vaejax.losses import event_log_prob, sampled_kl

LIKELIHOOD = 5  # a stream of random keys of its own


def log_likelihood(
    model: Model, samples: int, chunk: int = 50
) -> Callable[[Params, Batch, jax.Array], jax.Array]:
    """`(params, batch, key) -> log p(x)` `[B]` in nats, estimated from `samples` draws of z.

    log (1/K) Σ_k p(x | z_k) p(z_k) / q(z_k | x) (IWAE, 1509.00519, eq. 8 and section 5): a lower
    bound on average, which K makes tight. Every node of the model is sampled; under a condition
    it is log p(x | c). Each draw has a key of its own, so the result does not depend on the chunks.

    Args:
      model: whose `encode` and `decode`.
      samples: K.
      chunk: draws made at once, which bounds the memory; rounded down to a divisor of K.

    Raises:
      ValueError: fewer than one draw; or, when called, a node that holds codes.
    """
    if samples < 1 or chunk < 1:
        raise ValueError(
            f"importance sampling needs at least one draw, found samples={samples}, chunk={chunk}"
        )
    chunk = max(n for n in range(1, min(chunk, samples) + 1) if samples % n == 0)

    def log_weight(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        latents = model.encode(params, batch, key)
        p = model.decode(params, tuple(node.z for node in latents), batch)
        kl = jnp.stack([sampled_kl(node) for node in latents]).sum(axis=0)
        return event_log_prob(p, event(batch)) - kl

    # The features of x do not depend on the key: they are computed once a chunk.
    log_weights = jax.vmap(log_weight, in_axes=(None, None, 0))  # [chunk, B]

    def estimate(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        def add(total: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
            numbers = number * chunk + jnp.arange(chunk)
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)
            part = jax.nn.logsumexp(log_weights(params, batch, keys), axis=0)
            return jnp.logaddexp(total, part), None

        nothing = jnp.full(event(batch).shape[0], -jnp.inf)
        total, _ = jax.lax.scan(add, nothing, jnp.arange(samples // chunk))
        return total - jnp.log(float(samples))

    return jax.jit(estimate)


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
      samples: draws of z for each example.
      examples: how many examples, the first of `eval_order`; 0 for all.
      chunk: draws made at once.
      batch_size: examples at once.
      seed: of the draws of z, and of binarised images.
      binarize: as in training.
      mesh: the devices; None for one.
    """
    mesh = make_mesh(1) if mesh is None else mesh
    check_batch(mesh, batch_size)
    prepare, size = preparation(source, binarize), min(examples or source.size, source.size)
    estimate = log_likelihood(family.model, samples, chunk)

    def of_batch(params: Params, rows: Any, mask: jax.Array, number: Any) -> jax.Array:
        key, data_key = jax.random.split(key_of(seed, LIKELIHOOD, number))
        return jnp.sum(jnp.where(mask, estimate(params, prepare(rows, data_key), key), 0.0))

    judge = jax.jit(of_batch, out_shardings=replicated(mesh))
    total = 0.0
    for number, (indices, mask) in enumerate(eval_batches(source.size, batch_size, examples)):
        arrays = put(batch_sharding(mesh), source.take(indices) | {"": mask})
        mask_array = arrays.pop("")
        total += float(np.asarray(judge(params, arrays, mask_array, jnp.uint32(number))))
    return total / size
