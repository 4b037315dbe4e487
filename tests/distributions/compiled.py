"""Methods of distributions, each compiled once for each class and shape."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vaejax import distributions as d

KEY = jax.random.key(0)


# One program for each class and shape; called one by one, every operation is a program.
@jax.jit
def log_prob(q, x):
    return q.log_prob(x)


@jax.jit
def sample(q, key):
    return q.sample(key)


@jax.jit
def kl(q, p, z=None):
    return d.kl(q, p, z)


def repeat(q, n):
    return jax.tree.map(lambda a: np.broadcast_to(a, (n, *a.shape)), q)


@functools.partial(jax.jit, static_argnums=1)
def normal(key, shape=(3, 4)):
    a, b = jax.random.split(key)
    return d.Normal(jax.random.normal(a, shape), jnp.exp(0.3 * jax.random.normal(b, shape)))
