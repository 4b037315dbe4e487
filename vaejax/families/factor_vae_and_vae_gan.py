"""Families with a critic."""

from collections.abc import Mapping, Sequence
from typing import Any

from vaejax import losses, networks
from vaejax.core.game import Family, assign, chain
from vaejax.core.registry import call
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.families.shared import Players, gaussian_vae
from vaejax.latents import bottlenecks
from vaejax.models import autoencoder


def factor_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    critic: Mapping[str, Any] | None = None,
) -> Family:
    """FactorVAE (1802.05983): player `vae` minimises nll + kl + γ · tc, player `critic` critic.

    Of a batch, the critic sees the first half as it is and the second half shuffled. `critic` are
    arguments of `networks.latent_critic`.
    """
    model, groups = gaussian_vae(shape, latent_dim, network, likelihood, prior)
    judge = call(networks.latent_critic, "critic", **(critic or {}))
    terms = chain(losses.nll(), losses.kl(), losses.total_correlation(judge))
    return Family(model, terms, assign({"vae": groups, "critic": ("critic",)}, players))


def vae_gan(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 64,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    critic: Any = None,
    objective: str = "gan",
    prior_samples: bool = True,
    real_weight: float = 1.0,
    feature_scale: float = 1.0,
    r1: bool = False,
    adaptive: Mapping[str, Any] | None = None,
) -> Family:
    """VAE-GAN (1512.09300): a critic's middle layer is the metric, its verdict a further loss.

    Player `encoder` minimises kl + feature, `decoder` γ · feature − gan (or + generator), `critic`
    gan (Algorithm 1); the raw `nll`, of the pixels, is only reported. `critic` are arguments of
    `networks.image_critic`, or a network; `adaptive` those of `losses.Adaptive` but the first, such
    as `{"layer": "decoder/Conv_2/kernel"}`; the other options are those of `losses.adversarial`.
    """
    p = make_likelihood(likelihood)
    bottleneck = bottlenecks.gaussian(latent_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape, generated=prior_samples)
    adversary = losses.adversarial(
        networks.build_critic(critic or {}, shape),
        objective,
        prior_samples=prior_samples,
        real_weight=real_weight,
        feature_scale=feature_scale,
        r1=r1,
        adaptive=call(losses.Adaptive, "adaptive", model.decode, **adaptive) if adaptive else None,
    )
    owners = {name: (name,) for name in ("encoder", "decoder", "critic")}
    return Family(model, chain(losses.nll(), losses.kl(), adversary), assign(owners, players))
