"""Families with a discriminator."""

from collections.abc import Sequence

from vaejax import losses, networks
from vaejax.core.game import Family, assign, chain
from vaejax.core.registry import call
from vaejax.core.types import Options, Setting
from vaejax.distributions.likelihoods import Likelihood
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.families.shared import Players, gaussian_vae, with_options_of
from vaejax.latents import bottlenecks
from vaejax.models import autoencoder

__all__ = ["factor_vae", "vae_gan"]


@with_options_of(gaussian_vae)
def factor_vae(
    shape: Sequence[int],
    players: Players,
    *,
    discriminator: Options | None = None,
    **options: Setting,
) -> Family:
    """FactorVAE (1802.05983).

    Player `vae` minimises nll + kl + γ · tc, player `discriminator` minimises discriminator_loss.
    The discriminator's samples of q(z) are the first half of a batch, those of Π q(z_j) the second
    half with its dimensions permuted.

    Args:
      shape: of one event.
      players: `vae` and `discriminator`.
      **options: of `gaussian_vae`.
      discriminator: settings of `networks.latent_discriminator`; None for its defaults.
    """
    model, groups = gaussian_vae(shape, **options)
    network = call(networks.latent_discriminator, "discriminator", **(discriminator or {}))
    terms = chain(losses.nll(), losses.kl(), losses.total_correlation(network))
    owners = {"vae": groups, "discriminator": ("discriminator",)}
    return Family(model, terms, assign(owners, players))


def vae_gan(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 64,
    network: str | Options | networks.Pair = "conv",
    likelihood: str | Options | Likelihood = "bernoulli",
    discriminator: Options | networks.Network | None = None,
    objective: str = "gan",
    prior_samples: bool = True,
    real_weight: float = 1.0,
    feature_scale: float = 1.0,
    r1: bool = False,
    adaptive: Options | None = None,
) -> Family:
    """VAE-GAN (1512.09300): reconstructions are compared in a discriminator's hidden layer.

    Player `encoder` minimises kl + feature, `decoder` γ · feature − gan (or + generator), and
    `discriminator` gan (Algorithm 1). `nll`, of the pixels, is only reported.

    Args:
      shape: of one image, (H, W, C).
      players: `encoder`, `decoder` and `discriminator`.
      latent_dim: dimensions of z.
      network: encoder and decoder.
      likelihood: p(x | z), whose mean is the image for the discriminator.
      discriminator: settings of `networks.image_discriminator`, or a network.
      objective: see `losses.adversarial`.
      prior_samples: see `losses.adversarial`.
      real_weight: see `losses.adversarial`.
      feature_scale: see `losses.adversarial`.
      r1: see `losses.adversarial`.
      adaptive: settings of `losses.AdaptiveWeight`, such as `{"layer": "decoder/Conv_2/kernel"}`;
        None for a fixed weight.
    """
    p = make_likelihood(likelihood)
    bottleneck = bottlenecks.gaussian(latent_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape, generated=prior_samples)
    weight = call(losses.AdaptiveWeight, "adaptive", model.decode, **adaptive) if adaptive else None
    adversary = losses.adversarial(
        networks.build_discriminator(discriminator or {}, shape),
        objective,
        prior_samples=prior_samples,
        real_weight=real_weight,
        feature_scale=feature_scale,
        r1=r1,
        adaptive=weight,
    )
    owners = {name: (name,) for name in ("encoder", "decoder", "discriminator")}
    return Family(model, chain(losses.nll(), losses.kl(), adversary), assign(owners, players))
