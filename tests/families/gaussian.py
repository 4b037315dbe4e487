"""β-VAE and variants, InfoVAE and conditional VAE, and their losses as in the papers."""

import jax
import jax.numpy as jnp

from tests.families.common import (
    MLP,
    SHAPE,
    adam,
    bernoulli_nll,
    dense,
    gaussian_terms,
    log_normal,
    posterior_sample,
)
from vaejax import families


def beta_vae_reference(params, x, trace, step):
    nll, kl = gaussian_terms(params, x, trace)
    return nll + 4 * kl


def capacity_reference(params, x, trace, step):
    nll, kl = gaussian_terms(params, x, trace)
    return nll + 10 * jnp.abs(kl - 5 * step / 100)


def beta_vae(minimizes, **options):
    players = {"vae": (minimizes, adam())}
    return families.beta_vae(SHAPE, players, latent_dim=4, network=MLP, **options)


def info_vae():
    players = {"vae": ({"nll": 1, "kl": 0.75, "mmd": 40.0}, adam())}
    mmd = {"kernel": "imq", "scales": (0.5, 2.0), "estimator": "unbiased"}
    return families.info_vae(SHAPE, players, latent_dim=4, network=MLP, mmd=mmd)


def info_vae_reference(params, x, trace, step, prior_noise):
    """1706.02262, section 3, with the MMD of WAE's code (1711.01558): a term for each pair."""
    nll, kl = gaussian_terms(params, x, trace)
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    loc, log_variance = jnp.split(dense(params["encoder"], x), 2, axis=1)
    z = loc + jnp.exp(log_variance / 2) * noise
    z_p = prior_noise

    def k(a, b):
        squared = ((a[:, None] - b[None]) ** 2).sum(-1)
        return sum(8 * s / (8 * s + squared) for s in (0.5, 2.0))  # 2 · 4 dimensions

    n = len(z)
    off_diagonal = 1 - jnp.eye(n)
    within = ((k(z, z) + k(z_p, z_p)) * off_diagonal).sum() / (n * (n - 1))
    return nll + 0.75 * kl + 40 * (within - 2 * k(z, z_p).mean())


def variant(family, minimizes, more=(), **options):
    players = {"vae": (minimizes, adam()), **dict(more)}
    return getattr(families, family)(SHAPE, players, latent_dim=4, network=MLP, **options)


def beta_tcvae_reference(params, x, trace, step):
    """1802.04942, eq. 2, weighted by 1, 6, 1, with the tensor of all pairs."""
    nll, _ = gaussian_terms(params, x, trace)
    loc, log_variance, z = posterior_sample(params, x, trace)
    pairs = log_normal(z[:, None], loc[None], log_variance[None])  # [B, B, D]
    constant = jnp.log(jnp.float32(len(x) * 1000))
    log_q = jax.nn.logsumexp(pairs.sum(2), axis=1) - constant
    log_q_each = (jax.nn.logsumexp(pairs, axis=1) - constant).sum(1)
    mi = log_normal(z, loc, log_variance).sum(1) - log_q
    dimwise = log_q_each - log_normal(z, jnp.zeros(()), jnp.zeros(())).sum(1)
    return nll + (mi + 6 * (log_q - log_q_each) + dimwise).mean()


def dip_vae_reference(params, x, trace, step):
    """1711.00848, eq. 7, with λ_od = 2 and λ_d = 5."""
    nll, kl = gaussian_terms(params, x, trace)
    loc, log_variance, _ = posterior_sample(params, x, trace)
    second = (loc[:, :, None] * loc[:, None]).mean(0)
    covariance = second - loc.mean(0)[:, None] * loc.mean(0)[None]
    covariance += jnp.diag(jnp.exp(log_variance).mean(0))
    squares = (covariance - jnp.eye(4)) ** 2
    return nll + kl + 2 * (squares * (1 - jnp.eye(4))).sum() + 5 * jnp.trace(squares)


def sigma_vae_reference(params, x, trace, step):
    """2006.13202: −log N(x | mean, σ²) with σ² the mean squared error, held fixed."""
    _, kl = gaussian_terms(params, x, trace)
    mean = dense(params["decoder"], posterior_sample(params, x, trace)[2])
    squares = (mean - x.reshape(len(x), -1)) ** 2
    return (squares / (2 * jax.lax.stop_gradient(squares.mean()))).sum(1).mean() + kl


def geco_vae_reference(params, x, trace, step):
    """1810.00597: min over the model, max over the multiplier, of kl + λ (nll − 30)."""
    sg = jax.lax.stop_gradient
    nll, kl = gaussian_terms(params, x, trace)
    multiplier = jnp.exp(params["geco"])
    return kl + sg(multiplier) * (nll - 30) - multiplier * sg(nll - 30)


def iwae_reference(params, x, trace, step):
    """1509.00519, eq. 8, with the gradient of 1810.04152 for the encoder, and a VampPrior."""
    sg, x = jax.lax.stop_gradient, jnp.repeat(x, 3, axis=0)
    loc, log_variance, z = posterior_sample(params, x, trace)

    def log_p(decoder, encoder, pseudo, z):
        means, spreads = jnp.split(dense(encoder, jax.nn.sigmoid(pseudo)), 2, axis=1)
        each = log_normal(z[:, None], means[None], spreads[None]).sum(2)
        log_prior = jax.nn.logsumexp(each, axis=1) - jnp.log(5.0)
        return log_prior - bernoulli_nll(dense(decoder, z), x.reshape(len(x), -1))

    log_q = log_normal(z, sg(loc), sg(log_variance)).sum(1)
    groups = params["decoder"], params["encoder"], params["prior"]
    log_w = sg(log_p(*groups, z) - log_q).reshape(-1, 3)
    w = jax.nn.softmax(log_w, axis=1).reshape(-1)
    path = w**2 * (log_p(*sg(groups), z) - log_q)
    return -(path + w * log_p(*groups, sg(z))).sum() / (len(x) / 3)


def iwae():
    players = {"encoder": ({"dreg": 1}, adam()), "decoder": ({"iwae": 1}, adam())}
    prior = {"kind": "vamp", "pseudo_inputs": 5}
    options = {"latent_dim": 4, "network": MLP, "prior": prior, "samples": 3}
    return families.iwae(SHAPE, players, **options)


def cvae():
    weights = {"nll": 0.7, "kl": 0.7, "gsnn": 0.3}
    options = {"latent_dim": 4, "network": MLP, "prior_network": MLP, "classes": 3}
    return families.cvae(SHAPE, {"vae": (weights, adam())}, hybrid=True, **options)


def cvae_reference(params, x, trace, step, prior_noise):
    """Sohn et al. 2015, eq. 7, with the learned prior of eq. 4."""
    c, node = trace.condition, trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale

    def with_condition(a):
        return jnp.concatenate([a.reshape(len(a), -1), c], axis=1)

    m, log_v = jnp.split(dense(params["encoder"], with_condition(x)), 2, axis=1)
    n, log_w = jnp.split(dense(params["prior"], c), 2, axis=1)
    z = m + jnp.exp(log_v / 2) * noise
    z_p = n + jnp.exp(log_w / 2) * prior_noise
    nll, gsnn = (
        bernoulli_nll(dense(params["decoder"], with_condition(a)), x.reshape(len(x), -1))
        for a in (z, z_p)
    )
    kl = 0.5 * (log_w - log_v + (jnp.exp(log_v) + (m - n) ** 2) / jnp.exp(log_w) - 1).sum(axis=1)
    return (0.7 * (nll + kl) + 0.3 * gsnn).mean()
