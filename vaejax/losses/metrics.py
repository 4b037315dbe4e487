"""Metrics of a trace and its losses, by the names that they have in every log."""

import math

import jax
import jax.numpy as jnp

from vaejax.core.game import Latent, Losses, Trace
from vaejax.distributions import capabilities_of, is_discrete
from vaejax.losses import squared_error, sum_event

__all__ = ["code_counts", "codes_of", "perplexity", "trace_metrics"]


def codes_of(node: Latent) -> tuple[jax.Array, int] | None:
    """Indices of the codes of a node, int32 `[B, ...]`, and the size of the codebook.

    For a categorical posterior, its most likely codes. None for a node without codes.
    """
    q = node.posterior
    return (q.indices, q.size) if is_discrete(q) else None


def code_counts(trace: Trace, mask: jax.Array | None = None) -> dict[int, jax.Array]:
    """Number of a node -> how many tokens chose each code, float32 `[S, K]`, for nodes with codes.

    S is the number of indices per token: 1, or the levels of a residual times the groups of a
    product quantizer. For a categorical posterior the most likely codes are counted.

    Args:
      trace: of a forward pass.
      mask: the examples to be counted, bool `[B]`; None for all.
    """
    counts = {}
    for i, node in enumerate(trace.latents):
        if (codes := codes_of(node)) is None:
            continue
        indices, size = codes
        weight = (indices >= 0).astype(jnp.float32)
        if mask is not None:
            weight = weight * mask.astype(jnp.float32).reshape(-1, *(1,) * (indices.ndim - 1))
        slots = math.prod(indices.shape[node.z.ndim - 1 :])
        segments = jnp.maximum(indices, 0).reshape(-1, slots) + size * jnp.arange(slots)[None]
        total = jax.ops.segment_sum(weight.reshape(-1), segments.reshape(-1), slots * size)
        counts[i] = total.reshape(slots, size)
    return counts


def perplexity(counts: jax.Array) -> jax.Array:
    """exp of the entropy of the distribution of codes: the effective number of codes in use.

    Args:
      counts: how often each code was chosen, `[S, K]`.

    Returns:
      The mean over the S indices of a token, `[]`.
    """
    p = counts / jnp.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return jnp.exp(-jax.scipy.special.xlogy(p, p).sum(axis=1)).mean()


def trace_metrics(losses: Losses, trace: Trace) -> dict[str, jax.Array]:
    """Named metrics, `[B]` per example or `[]` of the whole batch, in nats unless stated otherwise.

    The losses, summed over nodes, and
      `elbo`: −(nll + kl), whatever the objective.
      `bits_per_dim`: −elbo in bits per dimension, for likelihoods of discrete values (for classes,
        bits per token).
      `mse`, or for classes `accuracy`: means over dimensions.
      `perplexity`: of the codes of a batch, for nodes with codes.
      `active_fraction`: expected fraction of the elements of z that are not zero, for posteriors
        with a probability `active` of that.
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
        if capabilities_of(trace.likelihood).bits_per_dim:
            dims = math.prod(trace.x.shape[1:])
            named["bits_per_dim"] = -named["elbo"] / (dims * math.log(2))
    dims = math.prod(trace.x.shape[1:])
    if is_discrete(trace.likelihood):
        correct = trace.likelihood.indices == trace.x
        named["accuracy"] = sum_event(correct.astype(jnp.float32)) / dims
    else:
        named["mse"] = squared_error(trace.likelihood, trace.x) / dims
    for i, counts in code_counts(trace).items():
        named["perplexity" if len(trace.latents) == 1 else f"perplexity/{i}"] = perplexity(counts)
    for i, node in enumerate(trace.latents):
        active = getattr(node.posterior, "active", None)
        if active is not None:
            name = "active_fraction" if len(trace.latents) == 1 else f"active_fraction/{i}"
            named[name] = active.reshape(active.shape[0], -1).mean(axis=1)
    return named
