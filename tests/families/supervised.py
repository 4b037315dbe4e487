"""The classifier, and its loss."""

import jax
import jax.numpy as jnp
import optax

from tests.families.common import MLP, SHAPE, dense
from vaejax import families


def classifier():
    players = {"classifier": ({"nll": 1.0}, optax.adam(1e-2, eps=1e-4))}
    return families.classifier(SHAPE, players, network=MLP, features=8, classes=3)


def classifier_reference(params, x, trace, step):
    """Cross-entropy of the labels, the event of the trace."""
    labels, last = trace.x, params["head"]["Dense_0"]
    features = jax.nn.relu(dense(params["encoder"], x))
    p = jax.nn.softmax(features @ last["kernel"] + last["bias"][None])
    return -jnp.log(p[jnp.arange(len(labels)), labels]).mean()
