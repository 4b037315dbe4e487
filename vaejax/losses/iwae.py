"""Bounds that weigh several draws of z for each example against each other."""

import jax
import jax.numpy as jnp

from vaejax.core.game import Latent, Losses, LossTransform, Trace
from vaejax.losses.base import event_log_prob, stateless
from vaejax.losses.elbo import sampled_kl


def _log_weights(loss: str, trace: Trace, samples: int, nll: jax.Array) -> jax.Array:
    """log w = log p(x, z) − log q(z | x) of each draw, `[B, K]`."""
    if samples < 1 or trace.x.shape[0] % samples:
        raise ValueError(
            f"the loss {loss!r} weighs {samples} draws for each example, but the trace has "
            f"{trace.x.shape[0]} rows; build the model with samples={samples} too"
        )
    kl = jnp.stack([sampled_kl(node) for node in trace.latents]).sum(axis=0)
    return -(nll + kl).reshape(-1, samples)


def _rows(values: jax.Array, samples: int) -> jax.Array:
    """`[B] -> [B · K]`: one row for each of the trace's, so that averages are those over B."""
    return jnp.repeat(values, samples)


def _bound(log_w: jax.Array) -> jax.Array:
    """−log mean_k w_k, `[B, K] -> [B]`."""
    return -jax.nn.logsumexp(log_w, axis=1) + jnp.log(float(log_w.shape[1]))


def iwae(samples: int) -> LossTransform:
    """`iwae` `[B · K]`: −log (1/K) Σ_k w_k (IWAE, 1509.00519, eq. 8), in each of an example's rows.

    w = p(x, z) / q(z | x) for K reparameterised draws from q, side by side in a trace of
    `autoencoder(samples=K)`; every node is sampled.

    Args:
      samples: K.

    Raises:
      ValueError: the trace's rows are no multiple of K, or a node holds codes.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        log_w = _log_weights("iwae", trace, samples, losses["nll"])
        return {"iwae": _rows(_bound(log_w), samples)}

    return stateless(apply)


def dreg(samples: int) -> LossTransform:
    """`dreg` `[B · K]`: of the same value as `iwae`, with another estimate of its gradient.

    The doubly reparameterised gradient (1810.04152, section 4) of the encoder:
    Σ_k sg(w̃_k²) ∂log w_k/∂z_k ∂z_k/∂φ, w̃ the weights normalised over k. It is unbiased for the
    encoder alone: let the decoder's owner minimise `iwae`. A prior's own parameters get the
    gradient of `iwae` from either.

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
                "depend on the draws of other nodes would need more terms; 'iwae' takes any number"
            )
        ((q, p, z),) = trace.latents
        log_w = _log_weights("dreg", trace, samples, losses["nll"])
        weights = sg(jax.nn.softmax(log_w, axis=1)).reshape(-1)  # [B · K]
        # z moves, the densities that it is put into stand still.
        path = -losses["nll"] - sampled_kl(Latent(sg(q), sg(p), z))
        # What the prior is made of (a network, pseudo-inputs) has no z to go through.
        own = event_log_prob(p, sg(z))
        surrogate = -(jnp.square(weights) * path + weights * own)
        surrogate = surrogate.reshape(-1, samples).sum(axis=1)
        value = sg(_bound(log_w) - surrogate) + surrogate
        return {"dreg": _rows(value, samples)}

    return stateless(apply)
