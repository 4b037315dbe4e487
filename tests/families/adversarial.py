"""Families with a discriminator, and their losses as one scalar."""

import jax
import jax.numpy as jnp
import optax

from tests.families.common import MLP, SHAPE, adam, dense, gaussian_terms, sums
from vaejax import families, networks


def factor_vae():
    players = {
        "vae": ({"nll": 1, "kl": 1, "tc": 10.0}, adam()),
        "discriminator": ({"discriminator_loss": 1}, optax.adam(1e-3, b1=0.5, b2=0.9, eps=1e-4)),
    }
    discriminator = {"hidden": (64,)}
    return families.factor_vae(
        SHAPE, players, latent_dim=4, network=MLP, discriminator=discriminator
    )


def factor_vae_reference(params, x, trace, step, order):
    """Algorithm 2 of 1802.05983 as one scalar, with a softmax over two logits."""
    sg = jax.lax.stop_gradient
    nll, kl = gaussian_terms(params, x, trace)
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    loc, log_variance = jnp.split(dense(params["encoder"], x), 2, axis=1)
    z = loc + jnp.exp(log_variance / 2) * noise

    def logits(p, z):
        hidden = z @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"][None]
        hidden = jnp.where(hidden > 0, hidden, 0.2 * hidden)
        return hidden @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"][None]

    d, half = logits(sg(params["discriminator"]), z), len(z) // 2
    shuffled = jnp.take_along_axis(sg(z)[half:], order, axis=0)
    joint = logits(params["discriminator"], sg(z)[:half])
    product = logits(params["discriminator"], shuffled)
    entropy = jax.nn.logsumexp(joint, axis=1) - joint[:, 0]
    entropy += jax.nn.logsumexp(product, axis=1) - product[:, 1]
    return nll + kl + 10 * (d[:, 0] - d[:, 1]).mean() + 0.5 * entropy.mean()


def _discriminate(params, x):
    """A discriminator of one hidden layer: logits, and the layer before its activation."""
    features = x.reshape(len(x), -1) @ params["v"]
    return jnp.tanh(features) @ params["w"], features


def _init(key, x):
    return {"v": 0.3 * jax.random.normal(key, (256, 64)), "w": 0.3 * jax.random.normal(key, (64,))}


def vae_gan():
    players = {
        "encoder": ({"kl": 1, "feature": 1}, adam()),
        "decoder": ({"feature": 0.5, "generator": 0.1}, adam()),
        "discriminator": ({"gan": 1, "r1": 0.1}, optax.adam(1e-4, eps=1e-4)),
    }
    discriminator = networks.Network(_init, _discriminate)
    options = {"latent_dim": 4, "network": MLP, "discriminator": discriminator, "r1": True}
    return families.vae_gan(SHAPE, players, objective="non_saturating", **options)


def vae_gan_reference(params, x, trace, step, prior_noise):
    """Algorithm 1 of 1512.09300 as one scalar, with the non-saturating loss and R1."""
    sg = jax.lax.stop_gradient
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    loc, log_variance = jnp.split(dense(params["encoder"], x), 2, axis=1)
    z = loc + jnp.exp(log_variance / 2) * noise
    kl = 0.5 * (loc**2 + jnp.exp(log_variance) - 1 - log_variance).sum(axis=1)

    def feature(z, decoder):
        fake = jax.nn.sigmoid(dense(decoder, z))
        discriminator = sg(params["discriminator"])
        gap = _discriminate(discriminator, x)[1] - _discriminate(discriminator, fake)[1]
        return 0.5 * (gap**2).sum(axis=1)

    def minus_log_d(z, decoder, discriminator, sign):
        return jnp.log1p(
            jnp.exp(-sign * _discriminate(discriminator, jax.nn.sigmoid(dense(decoder, z)))[0])
        )

    slope = jax.vmap(jax.grad(lambda x: _discriminate(params["discriminator"], x[None])[0][0]))(x)
    total = kl + feature(z, sg(params["decoder"])) + 0.5 * feature(sg(z), params["decoder"])
    for sample in (sg(z), prior_noise):
        total += 0.1 * minus_log_d(sample, params["decoder"], sg(params["discriminator"]), 1)
        total += minus_log_d(sample, sg(params["decoder"]), params["discriminator"], -1)
    total += jnp.log1p(jnp.exp(-_discriminate(params["discriminator"], x)[0]))
    return (total + 0.1 * 0.5 * sums(slope**2)).mean()
