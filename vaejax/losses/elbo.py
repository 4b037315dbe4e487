"""The two terms of the ELBO, and what is made of the second."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.game import Latent, Losses, LossTransform, Trace
from vaejax.losses.transform import stateless, sum_event


def node_kl(node: Latent) -> jax.Array:
    """KL(q ‖ p) of a node, nats `[B]`: closed form where one exists, else one sample."""
    q, p, z = node
    if distributions.has_closed_form(q, p):
        return sum_event(distributions.kl(q, p, z))
    return sum_event(q.log_prob(z)) - sum_event(p.log_prob(z))


def nll() -> LossTransform:
    """`nll` `[B]`: −log p(x | z), summed over the event."""

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        chex.assert_equal_shape([trace.x, trace.likelihood.mean])
        return {"nll": -sum_event(trace.likelihood.log_prob(trace.x))}

    return stateless(apply)


def kl() -> LossTransform:
    """`kl` `[B, L]`: KL(q ‖ p) of each node, closed form where one exists, else one sample."""

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        return {"kl": jnp.stack([node_kl(node) for node in trace.latents], axis=-1)}

    return stateless(apply)


def capacity(target: Callable[[jax.Array], jax.Array]) -> LossTransform:
    """`kl_capacity` `[]`: |KL − C(t)|, KL averaged over the batch and summed over the nodes.

    Burgess et al. (1804.03599, eq. 8), whose γ is the weight that a player gives it.

    Args:
      target: schedule of the capacity C, step -> nats.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        total = losses["kl"].sum(axis=-1).mean()
        wanted = jnp.asarray(target(trace.step), total.dtype)
        return {"kl_capacity": jnp.abs(total - wanted)}

    return stateless(apply)
