"""Metrics of a trace and its losses, by the names that they have in every log."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Latent, Losses, Trace
from vaejax.distributions import (
    capabilities_of,
    category_columns,
    elements_present,
    is_discrete,
    modelled_elements,
    modelled_size,
)
from vaejax.losses import squared_error, sum_event

__all__ = ["UsedCodes", "code_counts", "codes_of", "perplexity", "trace_metrics"]

_MAX_CODES = 2**16  # of larger codebooks only the codes that occur are counted


class UsedCodes(NamedTuple):
    """How often codes of a large codebook were chosen, for those that occur.

    Attributes:
      codes: their numbers, int32 `[..., S, N]`, arbitrary where the count is 0.
      counts: of tokens, float32 `[..., S, N]`.
      size: K, the size of the codebook, `[...]`.
    """

    codes: Any
    counts: Any
    size: Any

    def merge(self, other: "UsedCodes") -> "UsedCodes":
        """The counts of both together, as NumPy arrays."""
        codes = np.concatenate([self.codes, other.codes], axis=-1)
        counts = np.concatenate([self.counts, other.counts], axis=-1)
        flat = (a.reshape(-1, codes.shape[-1]) for a in (codes, counts))
        rows = []
        for row, count in zip(*flat, strict=True):
            used, position = np.unique(row[count > 0], return_inverse=True)
            rows.append((used, np.bincount(position, count[count > 0], len(used))))
        width = max(1, *(len(used) for used, _ in rows))
        padded = [[np.pad(a, (0, width - len(a))) for a in row] for row in rows]
        shape = (*codes.shape[:-1], width)
        codes, counts = (np.stack(part).reshape(shape) for part in zip(*padded, strict=True))
        return UsedCodes(codes, counts, self.size)


def codes_of(node: Latent) -> tuple[jax.Array, int] | None:
    """Indices of the codes of a node, int32 `[B, ...]`, and the size of the codebook.

    For a categorical posterior, its most likely codes. None for a node without codes.
    """
    q = node.posterior
    return (q.indices, q.size) if is_discrete(q) else None


def _count_all(indices: jax.Array, weight: jax.Array, size: int) -> jax.Array:
    """Weights summed for each code, `[N, S] -> [S, K]`."""
    slots = indices.shape[1]
    segments = indices + size * jnp.arange(slots)[None]
    total = jax.ops.segment_sum(weight.reshape(-1), segments.reshape(-1), slots * size)
    return total.reshape(slots, size)


def _count_used(indices: jax.Array, weight: jax.Array, size: int) -> UsedCodes:
    """Weights summed for each code that occurs among the N tokens, from `[N, S]`."""

    def of_slot(indices: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        ordered, weight = jax.lax.sort((indices, weight), num_keys=1)
        is_new = jnp.concatenate([jnp.zeros(1, bool), ordered[1:] != ordered[:-1]])
        run, n = jnp.cumsum(is_new), len(ordered)
        return jax.ops.segment_max(ordered, run, n), jax.ops.segment_sum(weight, run, n)

    return UsedCodes(*jax.vmap(of_slot, in_axes=1)(indices, weight), jnp.float32(size))


def code_counts(trace: Trace, mask: jax.Array | None = None) -> dict[int, jax.Array | UsedCodes]:
    """Number of a node -> how many tokens chose each code, float32 `[S, K]`, for nodes with codes.

    S is the number of indices per token: 1, or the levels of a residual times the groups of a
    product quantizer. For a categorical posterior the most likely codes are counted. Of a codebook
    of more than 2¹⁶ codes only those that occur are counted, in memory of the number of tokens.

    Args:
      trace: of a forward pass.
      mask: the examples to be counted, bool `[B]`; None for all.
    """
    counts: dict[int, jax.Array | UsedCodes] = {}
    for i, node in enumerate(trace.latents):
        if (codes := codes_of(node)) is None:
            continue
        indices, size = codes
        weight = (indices >= 0).astype(jnp.float32)
        if mask is not None:
            weight = weight * mask.astype(jnp.float32).reshape(-1, *(1,) * (indices.ndim - 1))
        slots = math.prod(indices.shape[node.z.ndim - 1 :])
        count = _count_all if size <= _MAX_CODES else _count_used
        chosen = jnp.maximum(indices, 0).reshape(-1, slots)
        counts[i] = count(chosen, weight.reshape(-1, slots), size)
    return counts


def perplexity(counts: jax.Array | UsedCodes) -> jax.Array:
    """exp of the entropy of the distribution of codes: the effective number of codes in use.

    Args:
      counts: how often each code was chosen, `[S, K]`, or each of those that were.

    Returns:
      The mean over the S indices of a token, `[]`.
    """
    if isinstance(counts, UsedCodes):
        counts = jnp.asarray(counts.counts)
    p = counts / jnp.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return jnp.exp(-jax.scipy.special.xlogy(p, p).sum(axis=1)).mean()


def _of_present_rows(values: jax.Array, trace: Trace) -> jax.Array:
    """Values `[B]` whose mean over the batch is that over the examples of which something is there.

    That is, 0 for the others, and the values themselves if there are no others.
    """
    present = elements_present(trace.likelihood, trace.x)
    if present is None:
        return values
    rows = present.reshape(present.shape[0], -1).any(axis=1).astype(values.dtype)
    return values * rows / jnp.maximum(rows.mean(), 1.0 / float(rows.shape[0]))


def _of_columns(trace: Trace, categories: np.ndarray) -> dict[str, jax.Array]:
    """`mse` over the columns of numbers, `accuracy` over those of categories (bool `[D]`)."""
    p, x = trace.likelihood, trace.x
    modelled, error, named = modelled_elements(p, x), jnp.square(p.mean - x), {}
    for name, columns in (("mse", ~categories), ("accuracy", categories)):
        if columns.any():
            counted = modelled[:, columns].astype(x.dtype)
            values = error if name == "mse" else (error == 0).astype(x.dtype)
            total = (values[:, columns] * counted).sum(axis=1)
            named[name] = _of_present_rows(total / jnp.maximum(counted.sum(axis=1), 1.0), trace)
    return named


def trace_metrics(losses: Losses, trace: Trace) -> dict[str, jax.Array]:
    """Named metrics, `[B]` per example or `[]` of the whole batch, in nats unless stated otherwise.

    The losses, summed over nodes, and
      `elbo`: −(nll + kl), whatever the objective.
      `bits_per_dim`: −elbo in bits per dimension, for likelihoods of discrete values (for classes,
        bits per token).
      `mse`, or for classes `accuracy`: means over dimensions. Of events that are partly observed,
        the dimensions are those that p(x | z) models. Of a table with both kinds of columns, `mse`
        is over those of numbers and `accuracy` over those of categories.
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
        if (present := elements_present(trace.likelihood, trace.x)) is not None:
            wrong &= present
        accuracy = 1.0 - sum_event(wrong.astype(jnp.float32)) / dims
        named["accuracy"] = _of_present_rows(accuracy, trace)
    elif (categories := category_columns(trace.likelihood)) is not None:
        named |= _of_columns(trace, categories)
    else:
        named["mse"] = _of_present_rows(squared_error(trace.likelihood, trace.x) / dims, trace)
    for i, counts in code_counts(trace).items():
        named["perplexity" if len(trace.latents) == 1 else f"perplexity/{i}"] = perplexity(counts)
    for i, node in enumerate(trace.latents):
        active = getattr(node.posterior, "active", None)
        if active is not None:
            name = "active_fraction" if len(trace.latents) == 1 else f"active_fraction/{i}"
            named[name] = active.reshape(active.shape[0], -1).mean(axis=1)
    return named
