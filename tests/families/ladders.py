"""Hierarchical VAEs, and their losses as in the papers."""

import jax
import jax.numpy as jnp

from tests.families.common import SHAPE, adam, bernoulli_nll, sums
from vaejax import families, networks

CONV = {"blocks": (1, 2), "num_downsamples": (1, 2), "width": 8}
CONV |= {"bottleneck_channels": 4, "latent_dim": 2}


def lvae():
    network = {"kind": "dense", "latent_dims": (3, 5), "hidden": (16, 32)}
    players = {"vae": ({"nll": 1, "kl": 0.5}, adam())}
    return families.hierarchical(SHAPE, players, network=network, merge="precision")


def _normal(features):
    loc, raw = jnp.split(features, 2, axis=-1)
    return loc, 1e-3 + 0.999 * jnp.log2(1 + 2.0**raw)


def _first(tree):
    return jax.tree.map(lambda a: a[0], tree)


def _sample(node, loc, scale):
    return loc + scale * (node.z - node.posterior.loc) / node.posterior.scale


def _kl(q, p):
    gap = (q[1] ** 2 + (q[0] - p[0]) ** 2) / p[1] ** 2
    return sums(0.5 * (gap - 1) - jnp.log(q[1] / p[1]))


def lvae_reference(params, x, trace, step):
    """1602.02282, eq. 14–19, for two latents; noise and standard deviations as in the library."""

    def layers(p, x, count):
        for i in range(count):
            x = x @ p[f"Dense_{i}"]["kernel"] + p[f"Dense_{i}"]["bias"][None]
            x = jnp.where(x > 0, x, 0.2 * x) if i < 2 else x
        return x

    up, encoder, decoder = params["encoder"]["bottom_up"], params["encoder"], params["decoder"]
    low = layers(up["_Hidden_0"], x.reshape(len(x), -1), 2)
    high = layers(up["_Hidden_1"], low, 2)
    top = encoder["stage_0"]["Dense_0"]
    q_top = _normal(high @ top["kernel"][0] + top["bias"][0][None])
    z_top = _sample(trace.latents[0], *q_top)
    p = _normal(layers(_first(decoder["stage_1"]["blocks"]["prior"]), z_top, 3))
    head = encoder["stage_1"]["Dense_0"]
    m, s = _normal(low @ head["kernel"][0] + head["bias"][0][None])
    precision = s**-2 + p[1] ** -2
    q = ((m * s**-2 + p[0] * p[1] ** -2) / precision, precision**-0.5)
    z = _sample(trace.latents[1], *q)
    nll = bernoulli_nll(layers(decoder["output"]["_Hidden_0"], z, 3), x.reshape(len(x), -1))
    standard = (jnp.zeros(()), jnp.ones(()))
    return (nll + 0.5 * (_kl(q_top, standard) + _kl(q, p))).mean()


def conv_ladder(merge):
    players = {"vae": ({"nll": 1, "kl": 0.5}, adam())}
    return families.hierarchical(SHAPE, players, network={"kind": "conv", **CONV}, merge=merge)


def conv_ladder_reference(merge):
    """VDVAE (2011.10650, section 3.1) or, residual, NVAE (2007.03898, eq. 2), unrolled."""
    nets = networks.conv_ladder(SHAPE, 1, **CONV)

    def reference(params, x, trace, step):
        encoder, decoder = params["encoder"], params["decoder"]
        activations = nets.bottom_up.apply(encoder["bottom_up"], x)
        h, kl, nodes, dim = jnp.zeros((len(x), 1)), 0.0, list(trace.latents), CONV["latent_dim"]
        for i, stage in enumerate(nets.stages):
            down, up = decoder[f"stage_{i}"], encoder[f"stage_{i}"]
            h = stage.enter.apply(down["enter"], h)
            for j in range(CONV["blocks"][i]):
                block = jax.tree.map(lambda a, j=j: a[j], down["blocks"])
                features = stage.prior.apply(block["prior"], h)
                p = _normal(features[..., : 2 * dim])
                posterior = jax.tree.map(lambda a, j=j: a[j], up)
                loc, scale = _normal(stage.posterior.apply(posterior, h, activations[i]))
                q = (p[0] + loc, p[1] * scale) if merge == "residual" else (loc, scale)
                z = _sample(nodes.pop(0), *q)
                kl = kl + _kl(q, p)
                h = stage.update.apply(block["update"], h, features[..., 2 * dim :], z)
        logits = nets.output.apply(decoder["output"], h)
        flat = x.reshape(len(x), -1)
        return (bernoulli_nll(logits.reshape(flat.shape), flat) + 0.5 * kl).mean()

    return reference
