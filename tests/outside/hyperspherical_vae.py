"""Hyperspherical VAE (Davidson et al. 2018, 1804.00891): von Mises-Fisher under a uniform prior."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from sphere import unit
from von_mises_fisher import VonMisesFisher

import vaejax
from vaejax import losses, models, networks
from vaejax.distributions import Capabilities, register_kl
from vaejax.distributions.likelihoods import likelihood as likelihood_of


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UniformOnSphere:
    """The uniform distribution of unit vectors; its `mean` is 0 `[B, D]`."""

    capabilities = Capabilities(continuous=True, elementwise=False)
    mean: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        return unit(jax.random.normal(key, self.mean.shape))

    def log_prob(self, z: jax.Array) -> jax.Array:
        d = z.shape[-1]
        log_area = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
        return jnp.full(z.shape[:-1], -log_area)


@register_kl(VonMisesFisher, UniformOnSphere)
def kl(q: VonMisesFisher, p: UniformOnSphere) -> jax.Array:
    """Nats `[B]`: E log q(z) = log q(μ) − κ (1 − A(κ)), and log p(z) is constant (ibid., eq. 6)."""
    spread = (q.concentration * (1 - q.length))[..., 0]
    return q.log_prob(q.direction) - spread - p.log_prob(q.direction)


def hyperspherical(latent_dim: int, min_concentration: float = 1.0) -> vaejax.Bottleneck:
    """Features `[B, D + 1]`: a direction, and by softplus what κ exceeds `min_concentration` by."""

    def apply(params: Any, features: jax.Array, key: jax.Array | None) -> vaejax.Latent:
        concentration = min_concentration + jax.nn.softplus(features[..., -1:])
        q = VonMisesFisher(unit(features[..., :-1]), concentration)
        z = q.direction if key is None else q.sample(key)
        return vaejax.Latent(q, UniformOnSphere(jnp.zeros_like(z)), z)

    def sample_prior(
        params: Any, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        return UniformOnSphere(jnp.zeros((*shape[:-1], latent_dim))).sample(key)

    return vaejax.Bottleneck(latent_dim + 1, lambda key, features: {}, apply, sample_prior)


@vaejax.register("family", "hyperspherical_vae")
def hyperspherical_vae(
    shape: Sequence[int],
    players: Mapping[str, Any],
    *,
    latent_dim: int = 3,
    network: Any = "mlp",
    likelihood: Any = "bernoulli",
    min_concentration: float = 1.0,
) -> vaejax.Family:
    """Player `vae` minimises nll + kl."""
    p, q = likelihood_of(likelihood), hyperspherical(latent_dim, min_concentration)
    encoder, decoder = networks.build(network, shape, q.width, p.width(shape[-1]))
    model = models.autoencoder(encoder, q, decoder, p, shape)
    table = vaejax.assign({"vae": ("encoder", "decoder")}, players)
    return vaejax.Family(model, vaejax.chain(losses.nll(), losses.kl()), table)
