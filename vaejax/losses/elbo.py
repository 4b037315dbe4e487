"""The two terms of the ELBO, and variants of them."""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.core.game import Latent, Losses, LossTransform, Trace
from vaejax.core.types import Step
from vaejax.distributions.likelihoods import MIN_LOG_SCALE
from vaejax.losses.base import event_log_prob, squared_error, stateless, sum_event

__all__ = ["capacity", "kl", "nll", "nll_optimal", "node_kl", "sampled_kl"]


def node_kl(node: Latent) -> jax.Array:
    """KL(q ‖ p) of a node, nats `[B]`: closed form where one exists, else one sample."""
    q, p, z = node
    if distributions.has_closed_form(q, p):
        return sum_event(distributions.kl(q, p, z))
    return sampled_kl(node)


def sampled_kl(node: Latent) -> jax.Array:
    """log q(z) − log p(z) at a node's sample, nats `[B]`: the one-sample estimate of its KL.

    Raises:
      ValueError: the posterior has no density, since the node holds codes.
    """
    q, p, z = node
    if distributions.is_discrete(q):
        raise ValueError(
            "log q(z) − log p(z) needs a posterior with a density, but that of a quantizer is over "
            "codes; use a model with continuous latents"
        )
    return event_log_prob(q, z) - event_log_prob(p, z)


def nll() -> LossTransform:
    """`nll` `[B]`: −log p(x | z), summed over the event."""

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        if distributions.is_discrete(trace.likelihood):
            chex.assert_equal_shape([trace.x, trace.likelihood.indices])
        else:
            chex.assert_equal_shape([trace.x, trace.likelihood.mean])
        return {"nll": -event_log_prob(trace.likelihood, trace.x)}

    return stateless(apply)


def nll_optimal() -> LossTransform:
    """`nll_optimal` `[]`: the nll of a Gaussian with the mean of p(x | z) and the optimal σ.

    Optimal σ-VAE (2006.13202, section 4): the optimal σ² shared by all elements of all events is
    the mean squared error over the batch, for which −log p is D/2 · (log(2π σ²) + 1) nats per
    example. As in the authors' code σ is bounded from below, here by that of a learned one, so that
    exact reconstructions do not have an infinite density. Of masked events, D counts the modelled
    elements; of standardised data, σ is that of standardised elements. A statistic of the batch.
    `nll` itself uses the σ of the model's likelihood.

    Raises:
      ValueError: of tables with categories.
    """
    min_variance = math.exp(2 * MIN_LOG_SCALE)

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        if distributions.category_columns(trace.likelihood) is not None:
            raise ValueError(
                "nll_optimal is the nll of real numbers alone, but the likelihood 'mixed' also has "
                "categories: use the family beta_vae, which minimises nll with learned scales"
            )
        chex.assert_equal_shape([trace.x, trace.likelihood.mean])
        p, x, log_scale = distributions.in_base_units(trace.likelihood, trace.x)
        error = squared_error(p, x).mean()
        dims = distributions.modelled_size(p, x).mean()
        mse = error / dims
        variance = jnp.maximum(mse, min_variance)
        log_density = -0.5 * (jnp.log(variance) + distributions.LOG_2PI + mse / variance)
        return {"nll_optimal": log_scale.mean() - dims * log_density}

    return stateless(apply, batch_statistics=("nll_optimal",))


def kl() -> LossTransform:
    """`kl` `[B, L]`: KL(q ‖ p) of each node, closed form where one exists, else one sample."""

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        if not trace.latents:  # a model of p(x) without latents
            return {"kl": jnp.zeros((trace.x.shape[0], 0))}
        return {"kl": jnp.stack([node_kl(node) for node in trace.latents], axis=-1)}

    return stateless(apply)


def capacity(target: Callable[[Step], float | jax.Array]) -> LossTransform:
    """`kl_capacity` `[]`: |KL − C(t)|, KL averaged over the batch and summed over the nodes.

    Burgess et al. (1804.03599, eq. 8), whose γ is the weight of this loss.

    Args:
      target: schedule of the capacity C, step -> nats.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        total = losses["kl"].sum(axis=-1).mean()
        current = jnp.asarray(target(trace.step), total.dtype)
        return {"kl_capacity": jnp.abs(total - current)}

    return stateless(apply, batch_statistics=("kl_capacity",))
