"""Losses: pure functions of a trace, in nats per example, as composable transforms.

Each transform adds names and overwrites none. `[B, L]` has one column per stochastic node, so that
per-layer weights and logs need nothing special; a statistic of the whole batch is a scalar.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.game import Losses, LossTransform, Params, Trace


def stateless(apply: Callable[[Losses, Trace], Losses]) -> LossTransform:
    """A transform without parameters or randomness: `(losses, trace) -> the new losses`."""

    def with_names(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del params, key
        return {**losses, **apply(losses, trace)}

    return LossTransform(init=lambda key, trace: {}, apply=with_names)


def sum_event(x: jax.Array) -> jax.Array:
    """Sums all but the batch axis: `[B, ...] -> [B]`."""
    return x.reshape(x.shape[0], -1).sum(axis=1)


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
        nodes = [
            sum_event(distributions.kl(node.posterior, node.prior, node.z))
            for node in trace.latents
        ]
        return {"kl": jnp.stack(nodes, axis=-1)}

    return stateless(apply)


def vq() -> LossTransform:
    """`vq` `[B, L]`: ‖z_e − e‖², summed over tokens and dimensions, one column per quantizer.

    VQ-VAE (1711.00937, eq. 3) has it twice, with the stop-gradient on one side and on the other:
    here the encoder's owner minimises it with the commitment weight, the codebook's with weight 1.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        codes = [
            node.posterior
            for node in trace.latents
            if isinstance(node.posterior, distributions.Codes)
        ]
        if not codes:
            found = [type(node.posterior).__name__ for node in trace.latents]
            raise ValueError(f"the loss 'vq' needs a quantizer, but the posteriors are {found}")
        distances = [sum_event(jnp.square(q.features - q.codes)) for q in codes]
        return {"vq": jnp.stack(distances, axis=-1)}

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
