"""The decoder of sparse decoding against a loop over its columns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import networks

KEY = jax.random.key(0)
RANDOM = np.random.RandomState(0)
D, K = 7, 3


@pytest.mark.parametrize("hidden", [(6,), (6, 5)])
def test_the_output_equals_a_loop_over_columns(hidden):
    network = networks.sparse_decoder(D, hidden=hidden)
    z, offset = (RANDOM.randn(4, n).astype(np.float32) for n in (K, 1))
    params = network.init(KEY, jnp.asarray(z))
    random = jax.tree.map(lambda a: RANDOM.randn(*a.shape).astype(np.float32), params)
    got = network.apply(random, jnp.asarray(z), jnp.asarray(offset))
    body = random["body"]
    for j in range(D):
        h = z * random["selector"]["weights"][j]
        for layer in body["layers"]:
            h = np.maximum(h @ layer["kernel"] + layer.get("bias", 0), 0)
        want = body["unit"][j] * (h @ body["kernel"][:, j]) + body["bias"][j] + offset[:, 0]
        np.testing.assert_allclose(got[:, j], want, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got[:, D + j], random["columns"][0, j])


def test_a_latent_that_no_column_selects_has_no_effect():
    network = networks.sparse_decoder(D)
    z = jnp.asarray(RANDOM.randn(4, K), jnp.float32)
    params = network.init(KEY, z)
    params["selector"]["weights"] = params["selector"]["weights"].at[:, 1].set(0.0)
    other = z.at[:, 1].set(100.0)
    np.testing.assert_array_equal(network.apply(params, z), network.apply(params, other))
