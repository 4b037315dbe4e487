"""M2, and its loss as in the paper; every other example has no label."""

import jax
import jax.numpy as jnp

from tests.families.common import MLP, SHAPE, adam, bernoulli_nll
from vaejax import families

CLASSES, WEIGHT = 3, 1.5


def every_other_label(batch):
    label = batch["label"]
    return {**batch, "label": jnp.where(jnp.arange(len(label)) % 2 == 0, label, -1)}


def m2():
    players = {"vae": ({"nll": 1, "kl": 1, "label_nll": WEIGHT}, adam())}
    family = families.m2(SHAPE, players, latent_dim=4, network=MLP, classes=CLASSES)
    forward = family.model.forward
    return family._replace(
        model=family.model._replace(
            forward=lambda params, batch, *args: forward(params, every_other_label(batch), *args)
        )
    )


def dense(p, *inputs):
    hidden, out = p["Dense_0"], p["Dense_1"]
    x = jnp.concatenate(inputs, axis=1)
    x = jax.nn.relu(x @ hidden["kernel"] + hidden["bias"][None])
    return x @ out["kernel"] + out["bias"][None]


def m2_reference(params, x, trace, step):
    """1406.5298, eq. 6, 7 and 9, one class after the other, with the noise of the trace."""
    x = x.reshape(len(x), -1)
    label, node = trace.latents[0].posterior.label, trace.latents[1]
    q = node.posterior.base
    noise = ((node.z.reshape(q.loc.shape) - q.loc) / q.scale).reshape(node.z.shape)
    pi = jax.nn.softmax(dense(params["classifier"], x))
    bounds = []
    for k in range(CLASSES):
        y = jnp.tile(jnp.eye(CLASSES)[k][None], (len(x), 1))
        loc, log_variance = jnp.split(dense(params["encoder"], x, y), 2, axis=1)
        z = loc + jnp.exp(log_variance / 2) * noise[:, k]
        kl = 0.5 * (loc**2 + jnp.exp(log_variance) - 1 - log_variance).sum(axis=1)
        logits = dense(params["decoder"], z, y)
        bounds.append(bernoulli_nll(logits, x) + kl + jnp.log(float(CLASSES)))
    bound = jnp.stack(bounds, axis=1)
    unlabelled = (pi * bound).sum(axis=1) + (pi * jnp.log(pi)).sum(axis=1)
    rows, known = jnp.arange(len(x)), jnp.maximum(label, 0)
    labelled = bound[rows, known] - WEIGHT * jnp.log(pi[rows, known])
    return jnp.where(label >= 0, labelled, unlabelled).mean()
