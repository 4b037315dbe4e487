"""Latent traversals: decoder means where one latent at a time varies."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch, Family, Latent, Params
from vaejax.distributions import Normal, capabilities_of, has_closed_form, kl

__all__ = ["traverse"]


def traverse(
    family: Family,
    params: Params,
    node: Latent,
    rows: int = 10,
    values: int = 10,
    conditions: Batch | None = None,
) -> tuple[jax.Array, list[str]]:
    """Decoder means `[L, S, ...]`, row l varying one latent, and a label for each row.

    Latents come in the order of their average KL, largest first: to the prior, or where that has
    none for each latent (a mixture), to a Gaussian with the moments of the aggregate posterior. The
    range of each is two standard deviations of the aggregate posterior about its mean; the others
    are fixed at the posterior mean of the first example.

    Args:
      family: whose decoder.
      params: of the model.
      node: the only node of the trace of many examples, a continuous vector `[B, D]`.
      rows: latents at most.
      values: S, points in each row.
      conditions: a batch whose first example gives the condition; None for an unconditional model.
    """
    compiled = jax.jit(functools.partial(_traverse, family, rows=rows, values=values))
    images, nats, order = compiled(params, node, conditions)  # op by op, this compiles 40 programs
    nats, order = np.asarray(nats), np.asarray(order)
    return images, [f"z{i}  {float(nats[i]):.2f} nats" for i in order]


def _traverse(
    family: Family, params: Params, node: Latent, conditions: Batch | None, rows: int, values: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The images of `traverse`, the KL of each latent `[D]`, and the latents of the rows `[L]`."""
    q: Any = node.posterior  # with a variance, or else `active`, `loc` and `scale`
    active = getattr(q, "active", None)  # elements that are zero are left out of the moments
    loc, variance = (q.mean, q.variance) if active is None else (q.loc, jnp.square(q.scale))
    weight = jnp.ones_like(loc) if active is None else active
    weight = weight / weight.sum(axis=0)[None]
    centre = (weight * loc).sum(axis=0)
    squares = jnp.square(loc - centre[None]) + variance
    deviation = jnp.sqrt((weight * squares).sum(axis=0))
    elementwise = capabilities_of(q).elementwise
    per_latent = q if elementwise else Normal(loc, jnp.sqrt(variance))
    aggregate = Normal(centre[None], deviation[None])
    prior = node.prior if elementwise and has_closed_form(q, node.prior) else aggregate
    nats = kl(per_latent, prior, node.z).mean(axis=0)  # [D]
    order = jnp.argsort(-nats)[:rows]
    steps = jnp.linspace(-2.0, 2.0, values)
    base = jnp.broadcast_to(q.mean[0][None, None], (len(order), values, loc.shape[1]))
    varied = centre[order][:, None] + deviation[order][:, None] * steps[None]  # [L, S]
    z = base.at[jnp.arange(len(order)), :, order].set(varied)
    z = z.reshape(-1, z.shape[-1])
    project = getattr(q, "project", None)  # of a posterior whose support is not all of ℝᴰ
    z = z if project is None else project(z)
    first = conditions and {k: jnp.repeat(v[:1], len(z), axis=0) for k, v in conditions.items()}
    mean = family.model.decode(params, (z,), first).mean
    return mean.reshape(len(order), values, *mean.shape[1:]), nats, order
