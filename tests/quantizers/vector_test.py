"""Vector quantisation: the code of each token, and the paths of gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import networks, quantizers
from vaejax.distributions import likelihoods
from vaejax.models import autoencoder

KEY = jax.random.key(0)
RNG = np.random.RandomState(0)
K, D = 16, 4


def vector(*args, group="codebook", **options):
    return quantizers.bottleneck(quantizers.vector(*args, **options), group=group)


FEATURES = jnp.asarray(RNG.randn(6, 3, 2, D), jnp.float32)
PARAMS = {"codebook": jnp.asarray(RNG.randn(K, D), jnp.float32)}


def test_each_token_becomes_its_nearest_code():
    node = vector(K, D).apply(PARAMS, FEATURES, KEY)
    f, e = np.asarray(FEATURES, np.float64), np.asarray(PARAMS["codebook"], np.float64)
    want = ((f[..., None, :] - e) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(node.posterior.indices, want)
    assert node.posterior.indices.dtype == jnp.int32
    np.testing.assert_array_equal(node.posterior.codes, PARAMS["codebook"][want])
    np.testing.assert_array_equal(node.posterior.features, FEATURES)
    np.testing.assert_allclose(node.z, node.posterior.codes, atol=1e-6)
    assert (node.prior.size, node.prior.shape) == (K, (6, 3, 2))


def test_the_gradient_of_z_passes_straight_through_to_the_features_only():
    weight = jnp.asarray(RNG.randn(*FEATURES.shape), jnp.float32)

    def loss(params, features):
        return (vector(K, D).apply(params, features, KEY).z * weight).sum()

    to_params, to_features = jax.jit(jax.grad(loss, (0, 1)))(PARAMS, FEATURES)
    np.testing.assert_array_equal(to_features, weight)
    assert not np.any(to_params["codebook"])


def test_the_gradient_of_the_posteriors_codes_reaches_the_codebook_only():
    def loss(params, features):
        return vector(K, D).apply(params, features, KEY).posterior.codes.sum()

    to_params, to_features = jax.jit(jax.grad(loss, (0, 1)))(PARAMS, FEATURES)
    indices = vector(K, D).apply(PARAMS, FEATURES, KEY).posterior.indices
    counts = np.bincount(np.asarray(indices).ravel(), minlength=K)
    np.testing.assert_allclose(to_params["codebook"], np.repeat(counts[:, None], D, 1))
    assert not np.any(to_features)


def test_the_initial_codebook_is_at_the_centres_of_the_features():
    centres = 10 * RNG.randn(4, D)
    features = np.repeat(centres, 60, axis=0) + 0.1 * RNG.randn(240, D)
    features = jnp.asarray(RNG.permutation(features).reshape(10, 6, 4, D), jnp.float32)
    params = vector(32, D, group="codes").init(KEY, features)
    assert set(params) == {"codes"}
    assert params["codes"].shape == (32, D)
    distance = np.linalg.norm(centres[:, None] - np.asarray(params["codes"]), axis=-1)
    assert distance.min(1).max() < 0.3, "a cluster without a code"
    assert distance.min(0).max() < 1.0, "a code without a cluster"


@pytest.mark.parametrize("lead", [(500,), (50, 5, 2)])
def test_samples_from_the_prior_are_uniform_over_codes(lead):
    sample_prior = jax.jit(vector(K, D).sample_prior, static_argnums=2)
    z = np.asarray(sample_prior(PARAMS, KEY, (*lead, D), 1.0))
    assert z.shape == (*lead, D)
    distance = np.abs(z.reshape(-1, 1, D) - np.asarray(PARAMS["codebook"])).max(-1)
    assert (distance.min(1) == 0).all()
    count = np.bincount(distance.argmin(1), minlength=K)
    expected = 500 / K
    assert ((count - expected) ** 2 / expected).sum() < 37.7  # χ² of 15 degrees, p = 0.001


def test_features_of_another_width_are_refused():
    with pytest.raises(AssertionError):
        vector(K, D + 1).apply(PARAMS, FEATURES, KEY)


def test_quantisation_is_in_float32_where_the_network_computes_in_bfloat16():
    shape, x = (8, 8, 1), jnp.asarray(RNG.rand(32, 8, 8, 1), jnp.float32)
    setting = {"kind": "mlp", "hidden": (8,), "dtype": "bfloat16"}
    encoder, decoder = networks.build(setting, shape, D, 1)
    p, bottleneck = likelihoods.bernoulli(), vector(K, D)
    model = autoencoder(encoder, bottleneck, decoder, p, shape)
    params = jax.jit(model.init)(KEY, {"image": x})
    trace = jax.jit(model.forward)(params, {"image": x}, KEY, jnp.int32(0))
    q = trace.latents[0].posterior
    arrays = [*jax.tree.leaves(params), q.features, q.codes, trace.latents[0].z]
    assert {a.dtype for a in [*arrays, trace.likelihood.logits]} == {jnp.dtype(jnp.float32)}
    exact, _ = networks.build({**setting, "dtype": "float32"}, shape, D, 1)
    assert np.any(q.features != jax.jit(exact.apply)(params["encoder"], x))
    assert np.any(q.codes.astype(jnp.bfloat16).astype(jnp.float32) != q.codes)
    f, e = np.asarray(q.features, np.float64), np.asarray(params["codebook"], np.float64)
    want = ((f[:, None] - e) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(q.indices, want)
    np.testing.assert_array_equal(q.codes, params["codebook"][want])
