"""What the families share."""

from collections.abc import Mapping, Sequence
from typing import Any

import optax

from vaejax import networks
from vaejax.core.game import Model, Weight
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.latents import bottlenecks, priors
from vaejax.models import autoencoder

Players = Mapping[str, tuple[Mapping[str, Weight], optax.GradientTransformation]]


def gaussian_vae(
    shape: Sequence[int],
    latent_dim: int,
    network: Any,
    likelihood: Any,
    prior: Any,
    **options: Any,
) -> tuple[Model, tuple[str, ...]]:
    """An autoencoder with one Gaussian latent, and its parameter groups, the encoder's first."""
    p, p_z = make_likelihood(likelihood), priors.latent_prior(prior, shape)
    bottleneck = bottlenecks.gaussian(latent_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape, prior=p_z, **options)
    return model, ("encoder", "decoder", *(("prior",) if p_z else ()))
