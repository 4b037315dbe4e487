"""The two terms of the ELBO, and what is made of the second."""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.core.game import Latent, Losses, LossTransform, Trace
from vaejax.losses.base import event_log_prob, squared_error, stateless, sum_event


def node_kl(node: Latent) -> jax.Array:
    """KL(q ‖ p) of a node, nats `[B]`: closed form where one exists, else one sample."""
    q, p, z = node
    if distributions.has_closed_form(q, p):
        return sum_event(distributions.kl(q, p, z))
    return sampled_kl(node)


def sampled_kl(node: Latent) -> jax.Array:
    """log q(z) − log p(z) of a node's draw, nats `[B]`: the estimate of its KL by one sample.

    Raises:
      ValueError: z is not a draw from a density: the node holds codes.
    """
    q, p, z = node
    if isinstance(q, distributions.Codes | distributions.Categorical):
        raise ValueError(
            "log q(z) − log p(z) needs a posterior with a density, but a quantizer's chooses among "
            "codes; take a model whose nodes are Gaussian, say"
        )
    return event_log_prob(q, z) - event_log_prob(p, z)


def nll() -> LossTransform:
    """`nll` `[B]`: −log p(x | z), summed over the event."""

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        if isinstance(trace.likelihood, distributions.Categorical):
            chex.assert_shape(trace.likelihood.logits, (*trace.x.shape, None))
        else:
            chex.assert_equal_shape([trace.x, trace.likelihood.mean])
        return {"nll": -event_log_prob(trace.likelihood, trace.x)}

    return stateless(apply)


def nll_optimal() -> LossTransform:
    """`nll_optimal` `[]`: the nll of a Gaussian with the mean of p(x | z) and the best σ.

    Optimal σ-VAE (2006.13202, section 4): of all σ shared by the values of all events, the best
    has σ² = the mean squared error over the batch; then −log p is D/2 · (log(2π σ²) + 1) nats an
    example. A statistic of the batch. The raw `nll` keeps the σ of the model's likelihood.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        chex.assert_equal_shape([trace.x, trace.likelihood.mean])
        error = squared_error(trace.likelihood, trace.x).mean()
        dims = float(math.prod(trace.x.shape[1:]))
        return {"nll_optimal": 0.5 * dims * (jnp.log(error / dims) + distributions.LOG_2PI + 1.0)}

    return stateless(apply)


def kl() -> LossTransform:
    """`kl` `[B, L]`: KL(q ‖ p) of each node, closed form where one exists, else one sample."""

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        if not trace.latents:  # a model that gives p(x) itself
            return {"kl": jnp.zeros((trace.x.shape[0], 0))}
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
