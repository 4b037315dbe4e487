"""Conditional VAE."""

import math
from collections.abc import Sequence
from typing import Any

from vaejax import losses, networks
from vaejax.core import conditions
from vaejax.core.game import Family, assign, chain
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.families.shared import Players
from vaejax.latents import bottlenecks, priors
from vaejax.models import autoencoder


def cvae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 16,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    condition: str = "label",
    classes: int = 0,
    condition_shape: Sequence[int] | None = None,
    conditioned: Sequence[str] = ("encoder", "decoder"),
    learned_prior: bool = True,
    prior_network: Any = "mlp",
    guess: Any = None,
    hybrid: bool = False,
) -> Family:
    """Conditional VAE (Sohn et al. 2015, eq. 4): player `vae` minimises nll + kl.

    q(z | x, c) against p(z | c), with p(x | z, c). With `hybrid` the chain also makes `gsnn`, and
    weights α, α, 1 − α of nll, kl, gsnn are the hybrid objective (eq. 7).

    Args:
      shape: of one event.
      players: `vae`, and with a guess `guess`.
      latent_dim: of z.
      network: encoder and decoder.
      likelihood: p(x | z, c).
      condition: `'label'`, or the name of another array in the batch (`'condition'`).
      classes: of the label.
      condition_shape: of one condition that is no label; None for the event's.
      conditioned: which of `'encoder'` and `'decoder'` see the condition.
      learned_prior: p(z | c) by a network, or else N(0, I).
      prior_network: its architecture.
      guess: architecture of a network that first predicts the hidden part of the condition for the
        prior (section 4.2), learned by the player `guess` from the loss `guess`; None for none.
      hybrid: whether to make `gsnn`.

    Raises:
      ValueError: a guess without a learned prior or without a condition of the event's shape.
    """
    p = make_likelihood(likelihood)
    c_shape = (classes,) if condition == "label" else tuple(condition_shape or shape)
    given = conditions.condition(condition, classes=classes, shape=c_shape)
    bottleneck, width = bottlenecks.gaussian(latent_dim), p.width(shape[-1])
    encoder, decoder = (
        net if name in conditioned else networks.blind(net)
        for name, net in zip(
            ("encoder", "decoder"),
            networks.build(network, shape, bottleneck.width, width),
            strict=True,
        )
    )
    owners, terms = ["encoder", "decoder"], [losses.nll(), losses.kl()]
    rows: dict[str, tuple[str, ...]] = {}
    prior = None
    if learned_prior:
        owners.append("prior")
        inner, _ = networks.build(prior_network, c_shape, bottleneck.width, 1)
        prior = priors.conditional(inner)
    if guess is not None:
        if prior is None or c_shape != tuple(shape):
            raise ValueError(
                "model.guess completes a condition of the event's shape for a learned prior; "
                f"found learned_prior={learned_prior} and conditions of shape {c_shape}"
            )
        flat, _ = networks.build(guess, c_shape, math.prod(shape[:-1]) * width, 1)
        guesser = networks.reshaped(flat, (*shape[:-1], width))
        prior = priors.with_guess(
            prior, guesser, lambda c, features: conditions.completed(c, p.apply(features).mean)
        )
        terms.append(losses.guess(guesser, p))
        rows["guess"] = ("guess",)
    if hybrid:
        terms.append(losses.gsnn())
    model = autoencoder(
        encoder, bottleneck, decoder, p, shape, prior=prior, condition=given, generated=hybrid
    )
    return Family(model, chain(*terms), assign({"vae": tuple(owners), **rows}, players))
