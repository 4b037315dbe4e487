"""The discriminator of vectors against a NumPy implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.networks import latent_discriminator

KEY = jax.random.key(0)
Z = np.random.RandomState(0).randn(5, 10).astype(np.float32)


def numpy_network(params, z):
    layers = [params[f"Dense_{i}"] for i in range(len(params))]
    for i, layer in enumerate(layers):
        z = z @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])
        if i < len(layers) - 1:
            z = np.where(z > 0, z, 0.2 * z)
    return z


def test_the_default_is_that_of_factor_vae():
    """Six leaky layers of 1000 and two logits: 10 → 1000 → ... → 1000 → 2."""
    shape = jax.eval_shape(latent_discriminator().init, KEY, Z)
    sizes = [leaf.size for leaf in jax.tree.leaves(shape)]
    assert sum(sizes) == 11 * 1000 + 5 * 1001 * 1000 + 1001 * 2


@pytest.mark.parametrize(("hidden", "num_logits"), [((7, 4), 2), ((), 3)])
def test_layers_have_leaky_relu_and_the_given_sizes(hidden, num_logits):
    network = latent_discriminator(hidden, num_logits=num_logits)
    params = network.init(KEY, Z)
    got = network.apply(params, Z)
    assert got.shape == (5, num_logits)
    np.testing.assert_allclose(got, numpy_network(params, Z.astype(np.float64)), atol=1e-6)


def test_activation_and_dtype_are_options():
    network = latent_discriminator((16,), activation="tanh", dtype="bfloat16")
    params = network.init(KEY, Z)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    got = network.apply(params, Z)
    assert got.dtype == jnp.float32
    first, last = jax.tree.map(np.asarray, (params["Dense_0"], params["Dense_1"]))
    want = np.tanh(Z @ first["kernel"] + first["bias"]) @ last["kernel"] + last["bias"]
    assert 0 < np.abs(got - want).max() < 0.05  # eight bits of mantissa
