"""A small family, and the shapes of its parameters after every check."""

import jax
import numpy as np
import optax

from vaejax import families
from vaejax.core import game
from vaejax.core.game import LossTransform

SHAPE = (8, 8, 1)
KEY = jax.random.key(0)
BATCH = {"image": np.random.RandomState(0).rand(8, *SHAPE).astype(np.float32)}
SMALL = {"kind": "residual", "hidden": 8, "blocks": 1, "block_hidden": 4, "downsamplings": 1}
SMALL["implementation"] = "native"


def transform(apply, init=lambda key, trace: {}):
    return LossTransform(init, apply)


def beta_vae(weights=None, **options):
    weights = weights or {"nll": 1.0, "kl": 1.0}
    network = {"kind": "mlp", "hidden": (8,)}
    players = {"vae": (weights, optax.sgd(0.1))}
    return families.beta_vae(SHAPE, players, latent_dim=2, network=network, **options)


def abstract_init(family):
    """Shapes of the parameters, after every check, without computing them."""
    return jax.eval_shape(lambda: game.init(family, KEY, BATCH))
