"""The numbers that a trace and its losses show, by the names they have in every log."""

import math

import jax
import jax.numpy as jnp

from vaejax.core.game import Latent, Losses, Trace
from vaejax.distributions import Categorical, Codes, DiscretizedLogistic, DiscretizedLogisticMixture
from vaejax.losses import squared_error, sum_event

_DISCRETE = (Categorical, DiscretizedLogistic, DiscretizedLogisticMixture)


def codes_of(node: Latent) -> tuple[jax.Array, int] | None:
    """Indices of the codes that a node holds, int32 `[B, ...]`, and how many there are to choose.

    Of a categorical posterior, its likeliest. None if it holds none.
    """
    q = node.posterior
    if isinstance(q, Codes):
        return q.indices, q.size
    if isinstance(q, Categorical):
        return jnp.argmax(q.logits, axis=-1).astype(jnp.int32), q.logits.shape[-1]
    return None


def code_counts(trace: Trace, mask: jax.Array | None = None) -> dict[int, jax.Array]:
    """Node -> how many tokens chose each code, float32 `[S, K]`, for the nodes that hold codes.

    S is the number of indices of a token: 1, or the levels of a residual and the groups of a
    product quantizer together. Of a categorical posterior its likeliest code counts.

    Args:
      trace: of a forward pass.
      mask: which examples count, bool `[B]`; None for all.
    """
    counts = {}
    for i, node in enumerate(trace.latents):
        if (found := codes_of(node)) is None:
            continue
        indices, size = found
        weight = (indices >= 0).astype(jnp.float32)
        if mask is not None:
            weight = weight * mask.astype(jnp.float32).reshape(-1, *(1,) * (indices.ndim - 1))
        slots = math.prod(indices.shape[node.z.ndim - 1 :])
        own = jnp.maximum(indices, 0).reshape(-1, slots) + size * jnp.arange(slots)[None]
        total = jax.ops.segment_sum(weight.reshape(-1), own.reshape(-1), slots * size)
        counts[i] = total.reshape(slots, size)
    return counts


def perplexity(counts: jax.Array) -> jax.Array:
    """exp of the entropy of code use: how many codes are in use, effectively.

    Args:
      counts: `[S, K]`.

    Returns:
      The mean over the S indices of a token, `[]`.
    """
    p = counts / jnp.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return jnp.exp(-jax.scipy.special.xlogy(p, p).sum(axis=1)).mean()


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
        named["mse"] = squared_error(trace.likelihood, trace.x) / dims
    for i, counts in code_counts(trace).items():
        named["perplexity" if len(trace.latents) == 1 else f"perplexity/{i}"] = perplexity(counts)
    for i, node in enumerate(trace.latents):
        active = getattr(node.posterior, "active", None)
        if active is not None:
            name = "active_fraction" if len(trace.latents) == 1 else f"active_fraction/{i}"
            named[name] = active.reshape(active.shape[0], -1).mean(axis=1)
    return named
