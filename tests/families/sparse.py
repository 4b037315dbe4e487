"""Variational sparse coding, and its loss as in the paper."""

import jax
import jax.numpy as jnp

from tests.families.common import MLP, SHAPE, STEPS, adam, bernoulli_nll, dense
from vaejax import families


def sparse_vae():
    players = {"vae": ({"nll": 1, "kl": 1, "sparsity_kl": 0.5}, adam())}
    warm_up = {"kind": "linear", "start": 0.5, "end": 1.0, "steps": 2 * STEPS}
    prior = {"kind": "pseudo_inputs", "count": 3}
    options = {"alpha": 0.1, "sharpness": 5.0, "slab": warm_up, "prior": prior, "network": MLP}
    return families.sparse_vae(SHAPE, players, latent_dim=4, **options)


def sparse_vae_reference(params, x, trace, step, slab_noise, eta):
    slab = 0.5 + 0.5 * step / (2 * STEPS)

    def spike_and_slab(x):
        loc, log_variance, v = jnp.split(dense(params["encoder"], x), 3, axis=1)
        log_active = jnp.minimum(jnp.minimum(v, 0.0), -1e-6)
        return slab * loc, jnp.exp(slab * log_variance), log_active

    def kl(q, p):  # elementwise
        (m, s2, log_g), (mu, su2, log_gu) = q, p
        g, off, off_u = jnp.exp(log_g), -jnp.expm1(log_g), -jnp.expm1(log_gu)
        gaussian = 0.5 * (jnp.log(su2 / s2) + (s2 + (m - mu) ** 2) / su2 - 1)
        return g * (gaussian + log_g - log_gu) + off * jnp.log(off / off_u)

    q = spike_and_slab(x)
    mask = jax.nn.sigmoid(5.0 * (eta - 1 + jnp.exp(q[2])))
    logits = dense(params["decoder"], mask * (q[0] + jnp.sqrt(q[1]) * slab_noise))
    nll = bernoulli_nll(logits, x.reshape(len(x), -1))

    prior = params["prior"]
    p = spike_and_slab(jax.nn.sigmoid(prior["inputs"]))
    classifier = prior["classifier"]
    w = jax.nn.softmax(x.reshape(len(x), -1) @ classifier["kernel"] + classifier["bias"][None])
    total = 0.0
    for u in range(3):
        component = tuple(a[u][None] for a in p)
        mean = jnp.exp(component[2]).mean()
        spike = mean * jnp.log(mean / 0.1) + (1 - mean) * jnp.log((1 - mean) / 0.9)
        nats = kl(q, component).sum(axis=1) + jnp.log(3 * w[:, u]) + 0.5 * 4 * spike
        total = total + w[:, u] * nats
    return (nll + total).mean()
