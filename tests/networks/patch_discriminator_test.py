"""The discriminator of patches: shapes, what a logit depends on, spectral norm against an SVD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.random_params import random_params
from vaejax.networks import patch_discriminator
from vaejax.networks.ops.spectral_norm import largest_singular_value

SMALL = {"channels": 4, "layers": 2}


@pytest.mark.parametrize(("size", "map_size"), [((16, 16), (4, 4)), ((13, 9), (4, 3))])
def test_a_logit_for_each_patch_of_any_size(size, map_size):
    network = patch_discriminator(**SMALL, groups=2)
    x = jnp.zeros((2, *size, 3))
    params = random_params(network.init, jax.random.key(0), x)
    logits, features = jax.eval_shape(network.apply, params, x)
    assert logits.shape == (2, *map_size)
    assert [f.shape[-1] for f in features] == [4, 8, 16]


def test_a_logit_depends_on_its_patch_alone():
    network = patch_discriminator(channels=2, layers=1)
    x = jnp.asarray(np.random.RandomState(0).rand(1, 32, 32, 1), jnp.float32)
    params = random_params(network.init, jax.random.key(0), x)
    logit = lambda x: network.apply(params, x)[0][0, 8, 8]  # noqa: E731
    seen = np.asarray(jax.jit(jax.grad(logit))(x))[0, :, :, 0] != 0
    rows, columns = np.nonzero(seen)
    # Kernels of 4 with strides 2, 1, 1: a patch of 4 + 2 · 3 + 2 · 3 = 16 pixels.
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 16
    assert 16 in rows


@pytest.mark.parametrize("shape", [(48, 5), (5, 48)])
def test_the_largest_singular_value_and_its_gradient_against_an_svd(shape):
    w = np.random.RandomState(1).randn(*shape)
    u, s, vt = np.linalg.svd(w)
    with jax.enable_x64(True):
        value, gradient = jax.jit(jax.value_and_grad(largest_singular_value))(jnp.asarray(w))
    np.testing.assert_allclose(value, s[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, np.outer(u[:, 0], vt[0]), atol=1e-4)


def test_of_equal_singular_values_and_of_zeros():
    sigma = jax.jit(largest_singular_value)
    np.testing.assert_allclose(sigma(3 * jnp.eye(4)), 3.0, rtol=1e-6)
    assert sigma(jnp.zeros((4, 4))) == 0


def test_the_scale_of_a_kernel_has_no_effect_under_spectral_norm():
    network = patch_discriminator(**SMALL, spectral_norm=True)
    x = jnp.asarray(np.random.RandomState(0).rand(1, 8, 8, 1), jnp.float32)
    params = random_params(network.init, jax.random.key(0), x, noise=0.0)
    scaled = {**params, "Conv_0": {**params["Conv_0"], "kernel": 7 * params["Conv_0"]["kernel"]}}
    apply = jax.jit(network.apply)
    np.testing.assert_allclose(apply(params, x)[0], apply(scaled, x)[0], rtol=1e-4, atol=1e-6)
