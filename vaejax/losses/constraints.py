"""Losses that hold another one at a level: free bits from below, a Lagrange multiplier at it."""

import math

import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.core.game import Latent, Losses, LossTransform, Params, Trace
from vaejax.core.registry import near_names
from vaejax.losses.base import stateless

_GROUPS = ("node", "dimension")


def _kl_of_dimensions(node: Latent) -> jax.Array:
    """KL of each dimension (a map's channel), averaged over the batch, `[D]`."""
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

    To be minimised in place of `kl`: below λ nats a group's KL costs nothing more. A statistic of
    the batch, written into each of its rows.

    Args:
      nats: λ, of each group.
      per: `'node'`: each stochastic node is a group; `'dimension'`: each latent dimension of each
        node is, or of a map each channel.

    Raises:
      ValueError: an unknown grouping, or a KL that is not a sum over dimensions.
    """
    if per not in _GROUPS:
        raise ValueError(f"unknown groups of free bits {near_names(per, _GROUPS)}")

    def apply(losses: Losses, trace: Trace) -> Losses:
        kl = losses["kl"]
        if per == "node":
            free = jnp.maximum(kl.mean(axis=0), nats)
        else:
            of_nodes = [_kl_of_dimensions(node) for node in trace.latents]
            free = jnp.stack([jnp.maximum(group, nats).sum() for group in of_nodes])
        return {"kl_free": jnp.broadcast_to(free[None], kl.shape)}

    return stateless(apply)


def kl_balancing() -> LossTransform:
    """`kl_balanced` `[B, L]`: γ_l KL_l, with more weight where a node holds more already.

    NVAE (2007.03898, supplement, section A): γ_l is proportional to the size of the node's latent
    times its mean KL, and the γ are 1 on average over the nodes; no gradient passes through them.
    It is for the warm-up alone, which lets all levels come to life: minimise it at first and `kl`
    later, by schedules of their weights.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        kl = losses["kl"]
        sizes = jnp.asarray([float(math.prod(node.z.shape[1:])) for node in trace.latents])
        weight = jax.lax.stop_gradient(sizes * kl.mean(axis=0))
        weight = weight / jnp.maximum(weight.mean(), 1e-12)
        return {"kl_balanced": weight[None] * kl}

    return stateless(apply)


def geco(target: float | jax.Array, of: str = "nll") -> LossTransform:
    """GECO (Rezende & Viola, 1810.00597, algorithm 1): a constraint on a loss.

    Adds `geco`, λ·(loss − target), of the loss's shape, and `geco_multiplier` `[]`, λ for the log.
    The group `geco` is log λ, which starts at 0, so that λ stays positive. A Lagrange
    multiplier is a player: vae minimises kl 1, geco 1; the owner of `geco` minimises geco −1, and
    so raises λ while the loss is above its target. The momentum of its optimizer takes the place of
    the paper's moving average of the constraint.

    Args:
      target: what the loss shall be on average, in nats.
      of: the loss.

    Raises:
      ValueError: the chain has no such loss before.
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
