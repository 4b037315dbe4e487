"""Losses of conditional models."""

import dataclasses

import jax

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.distributions import Distribution, Masked, WithMissing, in_base_units
from vaejax.distributions.likelihoods import Likelihood
from vaejax.losses.base import event_log_prob, stateless
from vaejax.networks import Network

__all__ = ["baseline_nll", "gsnn"]


def gsnn() -> LossTransform:
    """`gsnn` `[B]`: −log p(x | z, c) at z ~ p(z | c), a Gaussian stochastic neural network.

    Sohn et al. 2015, eq. 6, with one sample: the prediction task of the model at test time. The
    hybrid objective α · CVAE + (1 − α) · GSNN (eq. 7) is `nll` α, `kl` α, `gsnn` 1 − α.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        if trace.generated is None:
            raise ValueError(
                "the loss 'gsnn' needs a sample from the prior for each example: build the model "
                "with generated=True (model.hybrid=True for the family 'cvae')"
            )
        return {"gsnn": -event_log_prob(trace.generated, trace.x)}

    return stateless(apply)


def baseline_nll(network: Network, likelihood: Likelihood) -> LossTransform:
    """`baseline_nll` `[B]`: −log p(x | c) of a network without latents, parameter group `baseline`.

    The group exists in models whose prior is `priors.with_baseline`. The loss is the baseline of a
    conditional model (Sohn et al. 2015), evaluated on the same part of the event.
    """

    def apply(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del key
        if trace.condition is None:
            raise ValueError("the loss 'baseline_nll' needs a model with a condition")
        p = likelihood.apply(network.apply(params["baseline"], trace.condition))
        base, x, log_scale = in_base_units(trace.likelihood, trace.x)
        p = _same_elements(base, p)
        return {**losses, "baseline_nll": log_scale - event_log_prob(p, x)}

    return LossTransform(lambda key, trace: {}, apply)


def _same_elements(like: Distribution, p: Distribution) -> Distribution:
    """p of those elements of an event that the distribution `like` models."""
    if isinstance(like, Masked | WithMissing):
        return dataclasses.replace(like, base=_same_elements(like.base, p))
    return p
