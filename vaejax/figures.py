"""The numbers that a trace and its losses show, by the names they have in every log."""

import math

import jax
import jax.numpy as jnp

from vaejax.distributions import (
    Categorical,
    Codes,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
)
from vaejax.game import Losses, Trace
from vaejax.losses import sum_event

_DISCRETE = (Categorical, DiscretizedLogistic, DiscretizedLogisticMixture)


def code_counts(trace: Trace, mask: jax.Array | None = None) -> dict[int, jax.Array]:
    """Node -> how many tokens chose each code, float32 `[K]`, for the nodes that hold codes.

    Args:
      trace: of a forward pass.
      mask: which examples count, bool `[B]`; None for all.
    """
    counts = {}
    for i, node in enumerate(trace.latents):
        if isinstance(q := node.posterior, Codes):
            weight = jnp.ones(q.indices.shape)
            if mask is not None:
                shape = (-1,) + (1,) * (q.indices.ndim - 1)
                weight = weight * mask.astype(jnp.float32).reshape(shape)
            counts[i] = jax.ops.segment_sum(weight.reshape(-1), q.indices.reshape(-1), q.size)
    return counts


def perplexity(counts: jax.Array) -> jax.Array:
    """exp of the entropy of code use, `[K] -> []`: how many codes are in use, effectively."""
    p = counts / counts.sum()
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p, p)))


def figures(losses: Losses, trace: Trace) -> dict[str, jax.Array]:
    """Named numbers `[B]` per example, or `[]` of the whole batch; nats unless named otherwise.

    `elbo` is −(nll + kl) whatever is being optimised; `bits_per_dim` exists where the likelihood
    is one of 8-bit values or of classes, where it means bits a token; `active_fraction`, the
    expected share of a latent's elements that are not zero, where its posterior knows which may be
    (`active`); `mse`, or of classes `accuracy`.
    """
    named: dict[str, jax.Array] = {}
    for name, value in losses.items():
        if value.ndim == 2:
            named[name] = value.sum(axis=1)
            if name == "kl":
                named |= {f"kl/{i}": value[:, i] for i in range(value.shape[1])}
        else:
            named[name] = value
    if {"nll", "kl"} <= losses.keys():
        named["elbo"] = -(named["nll"] + named["kl"])
        if isinstance(trace.likelihood, _DISCRETE):
            dims = math.prod(trace.x.shape[1:])
            named["bits_per_dim"] = -named["elbo"] / (dims * math.log(2))
    dims = math.prod(trace.x.shape[1:])
    if isinstance(trace.likelihood, Categorical):
        right = jnp.argmax(trace.likelihood.logits, axis=-1) == trace.x
        named["accuracy"] = sum_event(right.astype(jnp.float32)) / dims
    else:
        named["mse"] = sum_event(jnp.square(trace.likelihood.mean - trace.x)) / dims
    for i, counts in code_counts(trace).items():
        named["perplexity" if len(trace.latents) == 1 else f"perplexity/{i}"] = perplexity(counts)
    for i, node in enumerate(trace.latents):
        active = getattr(node.posterior, "active", None)
        if active is not None:
            name = "active_fraction" if len(trace.latents) == 1 else f"active_fraction/{i}"
            named[name] = active.reshape(active.shape[0], -1).mean(axis=1)
    return named
