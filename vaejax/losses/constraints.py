"""Losses that control the value of another loss: free bits, KL balancing, GECO."""

import math

import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.core.game import Latent, Losses, LossTransform, Params, Trace
from vaejax.core.registry import near_names
from vaejax.losses.base import stateless

__all__ = ["GROUPS", "free_bits", "geco", "kl_balancing"]

GROUPS = ("node", "dimension")


def _dimension_kl(node: Latent) -> jax.Array:
    """KL of each dimension (of each channel of a map), averaged over the batch, `[D]`."""
    q, p, z = node
    if distributions.has_closed_form(q, p):
        nats = distributions.kl(q, p, z)
    else:
        log_q, log_p = q.log_prob(z), p.log_prob(z)
        nats = log_q - log_p if log_q.shape == log_p.shape else log_p
    if nats.shape != z.shape:
        raise ValueError(
            "free bits for each dimension need a KL that is a sum over dimensions, but "
            f"{type(q).__name__} against {type(p).__name__} has one for the whole latent; use "
            "per='node'"
        )
    return nats.reshape(nats.shape[0], -1, nats.shape[-1]).sum(axis=1).mean(axis=0)


def free_bits(nats: float | jax.Array, per: str = "node") -> LossTransform:
    """`kl_free` `[B, L]`: Σ_j max(λ, KL of group j averaged over the batch), 1606.04934, eq. 15.

    Minimised in place of `kl`: below λ nats the KL of a group has no gradient. A statistic of the
    batch, repeated in each row.

    Args:
      nats: λ, for each group.
      per: `'node'` for groups that are stochastic nodes; `'dimension'` for groups that are
        dimensions of a node, or channels of a node with a feature map.

    Raises:
      ValueError: an unknown grouping, or a KL that is not a sum over dimensions.
    """
    if per not in GROUPS:
        raise ValueError(f"unknown groups of free bits {near_names(per, GROUPS)}")

    def apply(losses: Losses, trace: Trace) -> Losses:
        kl = losses["kl"]
        if per == "node":
            free = jnp.maximum(kl.mean(axis=0), nats)
        else:
            dimension_kls = [_dimension_kl(node) for node in trace.latents]
            free = jnp.stack([jnp.maximum(kls, nats).sum() for kls in dimension_kls])
        return {"kl_free": jnp.broadcast_to(free[None], kl.shape)}

    return stateless(apply, batch_statistics=("kl_free",))


def kl_balancing() -> LossTransform:
    """`kl_balanced` `[B, L]`: γ_l KL_l, with larger weights for nodes with a larger KL.

    NVAE (2007.03898, supplement, section A): γ_l is proportional to the size of the node's latent
    times its mean KL, and the γ are 1 on average over the nodes; no gradient passes through them.
    It is meant for the warm-up, in which it keeps all nodes active: minimise it first and `kl`
    later, by schedules of their weights.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        kl = losses["kl"]
        sizes = jnp.asarray([float(math.prod(node.z.shape[1:])) for node in trace.latents])
        weight = jax.lax.stop_gradient(sizes * kl.mean(axis=0))
        weight = weight / jnp.maximum(weight.mean(), 1e-12)
        return {"kl_balanced": weight[None] * kl}

    return stateless(apply, batch_statistics=("kl_balanced",))


def geco(target: float | jax.Array, of: str = "nll") -> LossTransform:
    """GECO (Rezende & Viola, 1810.00597, algorithm 1): a constraint on a loss.

    Adds `geco`, λ·(loss − target), of the loss's shape, and the metric `geco_multiplier` `[]`, λ.
    The parameter group `geco` is log λ, initially 0, so that λ is positive. The Lagrange multiplier
    is a player: `vae` minimises kl 1, geco 1; the owner of `geco` minimises geco −1, which raises λ
    while the loss is above its target. The momentum of its optimizer replaces the paper's moving
    average of the constraint.

    Args:
      target: mean value of the loss to be reached, in nats.
      of: name of the loss.

    Raises:
      ValueError: no earlier transform of the chain makes this loss.
    """

    def init(key: jax.Array, trace: Trace) -> Params:
        del key, trace
        return {"geco": jnp.zeros(())}

    def apply(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del trace, key
        if of not in losses:
            raise ValueError(f"geco constrains an unknown loss {near_names(of, losses)}")
        multiplier = jnp.exp(params["geco"])
        constraint = losses[of] - target
        return {**losses, "geco": multiplier * constraint, "geco_multiplier": multiplier}

    return LossTransform(init, apply)
