"""A KL autoencoder with a discriminator and a perceptual loss, and its losses as one scalar."""

import jax
import jax.numpy as jnp
import optax

from tests.families.adversarial import _discriminate, _init
from tests.families.common import MLP, SHAPE, adam, dense, posterior_sample, sums
from vaejax import families, losses, networks

HEADS = (jnp.array([0.5, 2.0]),)


def features(x):
    """Two channels: a pixel, and its difference from 0.3."""
    return (jnp.concatenate([x, x - 0.3], axis=-1),)


def kl_autoencoder():
    minimizes = {"nll": 1, "kl": 0.1, "perceptual": 2.0, "generator_balanced": 0.5}
    players = {
        "vae": (minimizes, adam()),
        "discriminator": ({"gan": 1, "r1": 0.1, "lecam": 0.3}, optax.adam(1e-4, eps=1e-4)),
    }
    return families.beta_vae(
        SHAPE,
        players,
        latent_dim=4,
        network=MLP,
        likelihood={"kind": "laplace", "scale": 0.5},
        discriminator=networks.Network(_init, _discriminate),
        adversarial={
            "objective": "hinge",
            "adaptive": True,
            "lecam": True,
            "r1": True,
            "reconstruction": {"nll": 1.0, "perceptual": 2.0},
        },
        perceptual=losses.perceptual(features, HEADS),
    )


def kl_autoencoder_reference(params, x, trace, step):
    """2012.09841, eq. 6 and 7, with absolute errors, R1 and LeCam."""
    sg = jax.lax.stop_gradient
    loc, log_variance, z = posterior_sample(params, x, trace)
    kl = 0.5 * (loc**2 + jnp.exp(log_variance) - 1 - log_variance).sum(axis=1)
    discriminator = sg(params["discriminator"])

    def output(decoder, z):
        return dense(decoder, z).reshape(x.shape)

    def reconstruction(decoder, z):
        y = output(decoder, z)
        nll = sums(jnp.abs(x - y)) / 0.5 + 256 * jnp.log(2 * 0.5)
        a, b = (f / jnp.sqrt((f**2).sum(-1, keepdims=True)) for f in (*features(x), *features(y)))
        distance = ((a - b) ** 2 @ HEADS[0]).mean(axis=(1, 2))
        return (nll + 2 * 256 * distance).mean()

    def generator(decoder, z):
        return -_discriminate(discriminator, output(decoder, z))[0].mean()

    def norm(f):
        gradient = jax.grad(f)(sg(params["decoder"]), sg(z))
        return jnp.linalg.norm(gradient["Dense_1"]["kernel"])

    weight = sg(norm(reconstruction) / (norm(generator) + 1e-6))
    decoder = params["decoder"]
    total = 0.1 * kl.mean() + reconstruction(decoder, z) + 0.5 * weight * generator(decoder, z)
    real = _discriminate(params["discriminator"], x)[0]
    fake = _discriminate(params["discriminator"], sg(output(decoder, z)))[0]
    slope = jax.vmap(jax.grad(lambda x: _discriminate(params["discriminator"], x[None])[0][0]))(x)
    anchors = sg(params["discriminator_average"])
    lecam = (real - anchors["discriminator_logit_fake"]) ** 2
    lecam += (fake - anchors["discriminator_logit_real"]) ** 2
    hinge = jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)
    return total + (hinge + 0.1 * 0.5 * sums(slope**2) + 0.3 * lecam).mean()
