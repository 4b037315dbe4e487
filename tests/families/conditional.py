"""Small conditional VAEs, of a class or of half of an image, and their networks by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.random_params import random_params
from vaejax import families
from vaejax.core import game

SHAPE, CLASSES, DIM = (4, 4, 1), 3, 2
MLP = {"kind": "mlp", "hidden": (8,)}
_RNG = np.random.RandomState(0)
IMAGE = _RNG.rand(6, *SHAPE).astype(np.float32)
LABEL = np.array([0, 1, 2, 2, 1, -1], np.int32)  # the last has no label
BY_CLASS = {"image": IMAGE, "label": LABEL}
MASK = np.zeros((6, 4, 4, 1), np.float32)
MASK[:, :, 2:] = 1
HALVES = {"image": IMAGE, "hidden": MASK, "condition": np.where(MASK == 1, -1.0, IMAGE)}
HALVES = {k: v.astype(np.float32) for k, v in HALVES.items()}
KEY, STEP = jax.random.key(3), jnp.int32(0)


def cvae(weights=None, baseline=None, **options):
    players = {"vae": (weights or {"nll": 1.0, "kl": 1.0}, optax.sgd(0.1))}
    if baseline:
        players["baseline"] = ({"baseline_nll": 1.0}, optax.sgd(0.1))
    options = {"latent_dim": DIM, "network": MLP, "prior_network": MLP, **options}
    return families.cvae(SHAPE, players, baseline=baseline, **options)


def by_class(**options):
    return cvae(classes=CLASSES, **options)


def halves(**options):
    return cvae(condition="condition", conditioned=(), baseline=MLP, **options)


def init(family, batch):
    """Parameters with nonzero biases, so that every gradient is tested."""
    init = functools.partial(game.init, family)
    return random_params(init, jax.random.key(0), batch, noise=0.2)


def gradient(family, params, batch, key=KEY):
    run = game.game_gradient(game.losses_and_trace(family), family.players)
    return jax.jit(lambda p: run(p, STEP, batch, key, STEP))(params)


def dense(p, *inputs):
    x = jnp.concatenate([a.reshape(len(a), -1) for a in inputs], axis=1)
    x = jax.nn.relu(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"][None])
    return x @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"][None]


def gaussians(features):
    loc, log_variance = jnp.split(features, 2, axis=1)
    return loc, jnp.exp(log_variance)
