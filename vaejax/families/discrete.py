"""Families of discrete latents."""

from collections.abc import Sequence
from typing import Any

from vaejax import losses, networks, quantizers
from vaejax.families.shared import Players
from vaejax.game import Family, assign, chain
from vaejax.likelihoods import likelihood as make_likelihood
from vaejax.models import autoencoder


def vqvae(
    shape: Sequence[int],
    players: Players,
    *,
    codes: int = 512,
    code_dim: int = 64,
    network: Any = "residual",
    likelihood: Any = "normal",
    tokens: int = 0,
) -> Family:
    """VQ-VAE (1711.00937): player `vae` minimises nll + ¼ · vq, player `codebook` minimises vq.

    `tokens` is the number of classes of the data's tokens, for a categorical likelihood.
    """
    p = make_likelihood(likelihood, tokens)
    bottleneck = quantizers.vector(codes, code_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape)
    owners = {"vae": ("encoder", "decoder"), "codebook": ("codebook",)}
    return Family(model, chain(losses.nll(), losses.kl(), losses.vq()), assign(owners, players))
