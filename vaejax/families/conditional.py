"""Conditional VAE."""

import math
from collections.abc import Sequence

from vaejax import losses, networks
from vaejax.core import conditions
from vaejax.core.game import Family, LossTransform, assign, chain
from vaejax.core.types import Options
from vaejax.distributions.likelihoods import Likelihood
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.families.shared import Players
from vaejax.latents import bottlenecks, priors
from vaejax.models import autoencoder

__all__ = ["cvae"]


def cvae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 16,
    network: str | Options | networks.Pair = "conv",
    likelihood: str | Options | Likelihood = "bernoulli",
    condition: str = "label",
    classes: int = 0,
    condition_shape: Sequence[int] | None = None,
    conditioned: Sequence[str] = ("encoder", "decoder"),
    learned_prior: bool = True,
    prior_network: str | Options | networks.Pair = "mlp",
    baseline: str | Options | networks.Pair | None = None,
    hybrid: bool = False,
) -> Family:
    """Conditional VAE (Sohn et al. 2015, eq. 4): player `vae` minimises nll + kl.

    q(z | x, c) against p(z | c), with p(x | z, c). With `hybrid` the chain also makes `gsnn`, and
    weights α, α, 1 − α of nll, kl, gsnn are the hybrid objective (eq. 7).

    Args:
      shape: of one event.
      players: `vae`, and with a baseline `baseline`.
      latent_dim: dimensions of z.
      network: encoder and decoder.
      likelihood: p(x | z, c).
      condition: `'label'`, or the name of another array in the batch (`'condition'`).
      classes: number of classes of the label, from the data.
      condition_shape: of one condition that is not a label, by default that of the data's field
        `condition`; None for the event's.
      conditioned: which of `'encoder'` and `'decoder'` receive the condition.
      learned_prior: whether p(z | c) is given by a network; otherwise it is N(0, I).
      prior_network: architecture of p(z | c).
      baseline: architecture of a network without latents that predicts the hidden part of the
        condition for the prior (section 4.2); its player `baseline` minimises `baseline_nll`. None
        for none.
      hybrid: whether to make `gsnn`.

    Raises:
      ValueError: a baseline without a learned prior or without a condition of the event's shape.
    """
    p = make_likelihood(likelihood)
    c_shape = (classes,) if condition == "label" else tuple(condition_shape or shape)
    condition_ = conditions.condition(condition, classes=classes, shape=c_shape)
    bottleneck, out_channels = bottlenecks.gaussian(latent_dim), p.width(shape[-1])
    encoder, decoder = (
        net if name in conditioned else networks.unconditional(net)
        for name, net in zip(
            ("encoder", "decoder"),
            networks.build(network, shape, bottleneck.width, out_channels),
            strict=True,
        )
    )
    groups, terms = ["encoder", "decoder"], [losses.nll(), losses.kl()]
    owners: dict[str, tuple[str, ...]] = {}
    prior = None
    if learned_prior:
        groups.append("prior")
        encoder_of_c, _ = networks.build(prior_network, c_shape, bottleneck.width, 1)
        prior = priors.conditional(encoder_of_c)
    if baseline is not None:
        if prior is None or c_shape != tuple(shape):
            raise ValueError(
                "model.baseline completes a condition of the event's shape for a learned prior; "
                f"found learned_prior={learned_prior} and conditions of shape {c_shape}"
            )
        prior, loss = _with_baseline(prior, baseline, p, shape)
        terms.append(loss)
        owners["baseline"] = ("baseline",)
    if hybrid:
        terms.append(losses.gsnn())
    model = autoencoder(
        encoder, bottleneck, decoder, p, shape, prior=prior, condition=condition_, generated=hybrid
    )
    owners["vae"] = tuple(groups)
    return Family(model, chain(*terms), assign(owners, players))


def _with_baseline(
    prior: priors.LatentPrior,
    baseline: str | Options | networks.Pair,
    p: Likelihood,
    shape: Sequence[int],
) -> tuple[priors.LatentPrior, LossTransform]:
    """The prior with conditions completed by a baseline network, and the baseline's loss."""
    out_channels = p.width(shape[-1])
    flat, _ = networks.build(baseline, shape, math.prod(shape[:-1]) * out_channels, 1)
    predictor = networks.reshaped(flat, (*shape[:-1], out_channels))
    prior = priors.with_baseline(
        prior, predictor, lambda c, features: conditions.fill_hidden(c, p.apply(features).mean)
    )
    return prior, losses.baseline_nll(predictor, p)
