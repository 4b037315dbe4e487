"""A codebook, tokens near it, and one update of it as an optimizer does it."""

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Trace
from vaejax.quantizers import bottleneck, vector

K, D, N = 12, 3, 40
CODEBOOK = np.random.RandomState(0).randn(K, D).astype(np.float32)
KEY = jax.random.key(0)


def trace_of(features, codebook):
    features = jnp.asarray(features, jnp.float32)
    node = bottleneck(vector(K, D)).apply({"codebook": codebook}, features, KEY)
    return Trace(jnp.zeros((len(features), 1)), None, (node,))


def updater(tx):
    """`(state, codebook, features, key, gradient) -> (state, codebook, trace)`, compiled."""

    @jax.jit
    def update(state, codebook, features, key=KEY, gradient=None):
        gradient = jnp.zeros_like(codebook) if gradient is None else gradient
        trace = trace_of(features, codebook)
        updates, state = tx.update(
            {"codebook": gradient}, state, {"codebook": codebook}, trace=trace, key=key
        )
        return state, codebook + updates["codebook"], trace

    return update
