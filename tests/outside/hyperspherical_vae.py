"""Hyperspherical VAE (1804.00891) whose z is a point on each of several unit spheres in ℝ³."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from von_mises_fisher import UniformOnSpheres, VonMisesFisher, unit

import vaejax
from vaejax import losses, models, networks


def hyperspherical(spheres: int, min_concentration: float = 1.0) -> vaejax.Bottleneck:
    """Features `[B, 4 S]`: 3 S values for directions, and by softplus κ above its minimum."""

    def apply(params: Any, features: jax.Array, key: jax.Array | None) -> vaejax.Latent:
        concentration = min_concentration + jax.nn.softplus(features[..., 3 * spheres :])
        direction = unit(features[..., : 3 * spheres])
        q = VonMisesFisher(direction, jnp.repeat(concentration, 3, axis=-1))
        z = q.direction if key is None else q.sample(key)
        return vaejax.Latent(q, UniformOnSpheres(jnp.zeros_like(z)), z)

    def sample_prior(params: Any, key: jax.Array, shape: Any, temperature: Any) -> jax.Array:
        return UniformOnSpheres(jnp.zeros((*shape[:-1], 3 * spheres))).sample(key)

    return vaejax.Bottleneck(4 * spheres, lambda key, features: {}, apply, sample_prior)


@vaejax.register("family", "hyperspherical_vae")
def hyperspherical_vae(
    shape: Sequence[int],
    players: Mapping[str, Any],
    *,
    spheres: int = 1,
    network: Any = "mlp",
    likelihood: Any = "bernoulli",
    min_concentration: float = 1.0,
) -> vaejax.Family:
    """Player `vae` minimises nll + kl."""
    p, q = vaejax.likelihood(likelihood), hyperspherical(spheres, min_concentration)
    encoder, decoder = networks.build(network, shape, q.width, p.width(shape[-1]))
    model = models.autoencoder(encoder, q, decoder, p, shape)
    table = vaejax.assign({"vae": ("encoder", "decoder")}, players)
    return vaejax.Family(model, vaejax.chain(losses.nll(), losses.kl()), table)
