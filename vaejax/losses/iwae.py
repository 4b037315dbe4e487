"""Importance-weighted bounds from several samples of z per example."""

import jax
import jax.numpy as jnp

from vaejax.core.game import Latent, Losses, LossTransform, Trace
from vaejax.losses.base import event_log_prob, stateless
from vaejax.losses.elbo import sampled_kl

__all__ = ["dreg", "iwae"]


def _log_weights(loss: str, trace: Trace, samples: int, nll: jax.Array) -> jax.Array:
    """log w = log p(x, z) − log q(z | x) of each sample, `[B, K]`."""
    if samples < 1 or trace.x.shape[0] % samples:
        raise ValueError(
            f"the loss {loss!r} needs {samples} samples for each example, but the trace has "
            f"{trace.x.shape[0]} rows; build the model with samples={samples} too"
        )
    kl = jnp.stack([sampled_kl(node) for node in trace.latents]).sum(axis=0)
    return -(nll + kl).reshape(-1, samples)


def _rows(values: jax.Array, samples: int) -> jax.Array:
    """`[B] -> [B · K]`: values repeated for the samples of each example."""
    return jnp.repeat(values, samples)


def _bound(log_w: jax.Array) -> jax.Array:
    """−log mean_k w_k, `[B, K] -> [B]`."""
    return -jax.nn.logsumexp(log_w, axis=1) + jnp.log(float(log_w.shape[1]))


def iwae(samples: int) -> LossTransform:
    """`iwae` `[B · K]`: −log (1/K) Σ_k w_k (IWAE, 1509.00519, eq. 8), repeated for each sample.

    w = p(x, z) / q(z | x) for K reparameterised samples from q, which are consecutive rows of a
    trace of `autoencoder(samples=K)`; the KL of every node is that of its sample.

    Args:
      samples: K.

    Raises:
      ValueError: the number of rows is not a multiple of K, or a node holds codes.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        log_w = _log_weights("iwae", trace, samples, losses["nll"])
        return {"iwae": _rows(_bound(log_w), samples)}

    return stateless(apply)


def dreg(samples: int) -> LossTransform:
    """`dreg` `[B · K]`: the value of `iwae` with the doubly reparameterised gradient.

    DReG (1810.04152, section 4): Σ_k sg(w̃_k²) ∂log w_k/∂z_k ∂z_k/∂φ for the encoder, w̃ the weights
    normalised over k. It is unbiased for the encoder only: the decoder's owner should minimise
    `iwae`. The parameters of a prior have the same gradient under both losses.

    Args:
      samples: K.

    Raises:
      ValueError: as for `iwae`, or there are several nodes.
    """
    sg = jax.lax.stop_gradient

    def apply(losses: Losses, trace: Trace) -> Losses:
        if len(trace.latents) != 1:
            raise ValueError(
                f"the loss 'dreg' is for one node, found {len(trace.latents)}: densities that "
                "depend on samples of other nodes would need more terms; 'iwae' takes any number"
            )
        ((q, p, z),) = trace.latents
        log_w = _log_weights("dreg", trace, samples, losses["nll"])
        weights = sg(jax.nn.softmax(log_w, axis=1)).reshape(-1)  # [B · K]
        # The gradient through z, at fixed parameters of both densities.
        path = -losses["nll"] - sampled_kl(Latent(sg(q), sg(p), z))
        # The gradient of the prior's parameters (a network, pseudo-inputs), at fixed z.
        prior = event_log_prob(p, sg(z))
        surrogate = -(jnp.square(weights) * path + weights * prior)
        surrogate = surrogate.reshape(-1, samples).sum(axis=1)
        value = sg(_bound(log_w) - surrogate) + surrogate
        return {"dreg": _rows(value, samples)}

    return stateless(apply)
