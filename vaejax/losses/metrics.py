"""Metrics of a trace and its losses, by the names that they have in every log."""

import math

import jax
import jax.numpy as jnp

from vaejax.core.game import Latent, Losses, Trace
from vaejax.distributions import capabilities_of, is_discrete, modelled_size
from vaejax.losses import squared_error, sum_event

__all__ = ["code_counts", "codes_of", "perplexity", "trace_metrics", "used_code_counts"]

# Codebooks up to these sizes have all of their codes counted: for a whole split, for one batch.
_MAX_CODES, _MAX_CODES_OF_BATCH = 2**20, 2**16


def codes_of(node: Latent) -> tuple[jax.Array, int] | None:
    """Indices of the codes of a node, int32 `[B, ...]`, and the size of the codebook.

    For a categorical posterior, its most likely codes. None for a node without codes.
    """
    q = node.posterior
    return (q.indices, q.size) if is_discrete(q) else None


def _tokens(node: Latent, mask: jax.Array | None) -> tuple[jax.Array, jax.Array, int] | None:
    """Indices and their weights, 1 or 0, `[N, S]` each, and the size of the codebook."""
    if (codes := codes_of(node)) is None:
        return None
    indices, size = codes
    weight = (indices >= 0).astype(jnp.float32)
    if mask is not None:
        weight = weight * mask.astype(jnp.float32).reshape(-1, *(1,) * (indices.ndim - 1))
    slots = math.prod(indices.shape[node.z.ndim - 1 :])
    return jnp.maximum(indices, 0).reshape(-1, slots), weight.reshape(-1, slots), size


def _count_all(indices: jax.Array, weight: jax.Array, size: int) -> jax.Array:
    slots = indices.shape[1]
    segments = indices + size * jnp.arange(slots)[None]
    total = jax.ops.segment_sum(weight.reshape(-1), segments.reshape(-1), slots * size)
    return total.reshape(slots, size)


def _count_used(indices: jax.Array, weight: jax.Array) -> jax.Array:
    """Counts of the codes that occur among N tokens, in order of their numbers: `[S, N]`."""

    def of_slot(indices: jax.Array, weight: jax.Array) -> jax.Array:
        ordered, weight = jax.lax.sort((indices, weight), num_keys=1)
        is_new = jnp.concatenate([jnp.zeros(1, bool), ordered[1:] != ordered[:-1]])
        return jax.ops.segment_sum(weight, jnp.cumsum(is_new), len(ordered))

    return jax.vmap(of_slot, in_axes=1)(indices, weight)


def code_counts(trace: Trace, mask: jax.Array | None = None) -> dict[int, jax.Array]:
    """Number of a node -> how many tokens chose each code, float32 `[S, K]`, for nodes with codes.

    S is the number of indices per token: 1, or the levels of a residual times the groups of a
    product quantizer. For a categorical posterior the most likely codes are counted. A node of more
    than 2²⁰ codes is left out: most of its codes never occur, see `used_code_counts`.

    Args:
      trace: of a forward pass.
      mask: the examples to be counted, bool `[B]`; None for all.
    """
    tokens = {i: _tokens(node, mask) for i, node in enumerate(trace.latents)}
    return {i: _count_all(*t) for i, t in tokens.items() if t is not None and t[2] <= _MAX_CODES}


def used_code_counts(trace: Trace, mask: jax.Array | None = None) -> dict[int, jax.Array]:
    """As `code_counts`, for codebooks of any size: of a large one, only codes that occur.

    Of a codebook of more than 2¹⁶ codes the counts are `[S, N]`, where N is the number of tokens:
    those of the codes that occur, then zeros, so that memory does not grow with the codebook.

    Args:
      trace: of a forward pass.
      mask: as for `code_counts`.
    """
    counts = {}
    for i, node in enumerate(trace.latents):
        if (tokens := _tokens(node, mask)) is not None:
            indices, weight, size = tokens
            all_codes = size <= _MAX_CODES_OF_BATCH
            counts[i] = _count_all(*tokens) if all_codes else _count_used(indices, weight)
    return counts


def perplexity(counts: jax.Array) -> jax.Array:
    """exp of the entropy of the distribution of codes: the effective number of codes in use.

    Args:
      counts: how often each code was chosen, `[S, K]`; codes that were not may be left out.

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
      `mse`, or for classes `accuracy`: means over dimensions. Of events that are partly observed,
        the dimensions are those that p(x | z) models.
      `perplexity`: of the codes of a batch, for nodes with codes.
      `active_fraction`: expected fraction of the elements of z that are not zero, for posteriors
        with a probability `active` of that.
    """
    named: dict[str, jax.Array] = {}
    dims = modelled_size(trace.likelihood, trace.x)  # [B]
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
            named["bits_per_dim"] = -named["elbo"] / (dims * math.log(2))
    if is_discrete(trace.likelihood):
        wrong = trace.likelihood.indices != trace.x  # none among observed elements
        named["accuracy"] = 1.0 - sum_event(wrong.astype(jnp.float32)) / dims
    else:
        named["mse"] = squared_error(trace.likelihood, trace.x) / dims
    for i, counts in used_code_counts(trace).items():
        named["perplexity" if len(trace.latents) == 1 else f"perplexity/{i}"] = perplexity(counts)
    for i, node in enumerate(trace.latents):
        active = getattr(node.posterior, "active", None)
        if active is not None:
            name = "active_fraction" if len(trace.latents) == 1 else f"active_fraction/{i}"
            named[name] = active.reshape(active.shape[0], -1).mean(axis=1)
    return named
