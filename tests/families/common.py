"""What the reference losses of the families share."""

import jax
import jax.numpy as jnp
import optax

SHAPE = (16, 16, 1)
MLP = {"kind": "mlp", "hidden": (16,)}
STEPS = 20


def adam():
    return optax.adam(2e-3, eps=1e-4)


def sums(x):
    return x.reshape(x.shape[0], -1).sum(axis=1)


def bernoulli_nll(logits, x):
    return sums(jnp.logaddexp(logits, 0.0) - logits * x)


def dense(p, x):
    hidden, out = p["Dense_0"], p["Dense_1"]
    x = jax.nn.relu(x.reshape(len(x), -1) @ hidden["kernel"] + hidden["bias"][None])
    return x @ out["kernel"] + out["bias"][None]


def gaussian_terms(params, x, trace):
    """Mean nll and mean KL of a VAE with the networks `MLP`."""
    loc, log_variance = jnp.split(dense(params["encoder"], x), 2, axis=1)
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    z = loc + jnp.exp(log_variance / 2) * noise
    kl = 0.5 * (loc**2 + jnp.exp(log_variance) - 1 - log_variance).sum(axis=1)
    return bernoulli_nll(dense(params["decoder"], z), x.reshape(len(x), -1)).mean(), kl.mean()


def posterior_sample(params, x, trace):
    """Location, log-variance and sample of the posterior, with the noise of the trace."""
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    loc, log_variance = jnp.split(dense(params["encoder"], x), 2, axis=1)
    return loc, log_variance, loc + jnp.exp(log_variance / 2) * noise


def log_normal(z, loc, log_variance):
    return -0.5 * ((z - loc) ** 2 / jnp.exp(log_variance) + log_variance + jnp.log(2 * jnp.pi))
