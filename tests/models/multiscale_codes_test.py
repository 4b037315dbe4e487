"""VQ-VAE-2: decoding of codes, dependencies between levels, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.random_params import random_params
from vaejax import families, networks, quantizers
from vaejax.distributions import likelihoods
from vaejax.latents import bottlenecks
from vaejax.models import multiscale_codes

KEY = jax.random.key(0)
SHAPE = (14, 10, 1)  # odd sizes on the way: 14 → 7 → 4 → 2, 10 → 5 → 3 → 2
X = jnp.asarray(np.random.RandomState(0).rand(6, *SHAPE), jnp.float32)
NETWORK = {"hidden": 8, "blocks": 1, "block_hidden": 8, "implementation": "native"}


def model_of(downsamplings=(1, 1, 1), quantizer=None):
    quantizer = quantizer or quantizers.vector(16, 4)
    count = len(downsamplings)
    nodes = [quantizers.bottleneck(quantizer, group=f"codebook_{i}") for i in range(count)]
    levels = networks.multiscale_networks(SHAPE, 4, 1, downsamplings, **NETWORK)
    return multiscale_codes(levels, nodes, likelihoods.bernoulli(), SHAPE)


@pytest.fixture(scope="module")
def trained():
    model = model_of()
    params = random_params(model.init, KEY, {"image": X})
    trace = jax.jit(model.forward)(params, {"image": X}, KEY, jnp.int32(0))
    return model, params, trace


def test_each_level_is_coarser_than_the_one_below(trained):
    _, params, trace = trained
    assert set(params) == {"encoder", "decoder", "codebook_0", "codebook_1", "codebook_2"}
    shapes = [node.posterior.indices.shape for node in trace.latents]
    assert shapes == [(6, 2, 2), (6, 4, 3), (6, 7, 5)]  # the top first
    assert trace.likelihood.mean.shape == X.shape


def test_embedding_the_codes_gives_the_same_likelihood(trained):
    model, params, trace = trained
    indices = tuple(node.posterior.indices for node in trace.latents)
    zs = jax.jit(model.embed)(params, indices)
    for z, node in zip(zs, trace.latents, strict=True):
        np.testing.assert_allclose(z, node.z, atol=1e-6)
    p = jax.jit(model.decode)(params, zs)
    np.testing.assert_allclose(p.logits, trace.likelihood.logits, atol=1e-5)
    encoded = jax.jit(model.encode)(params, {"image": X}, KEY)
    for node, want in zip(encoded, indices, strict=True):
        np.testing.assert_array_equal(node.posterior.indices, want)


def test_levels_depend_on_the_levels_above_only(trained):
    """Changing a codebook changes the tokens below it; changing any z changes the likelihood."""
    model, params, trace = trained
    encode, decode = jax.jit(model.encode), jax.jit(model.decode)
    for level in range(3):
        other = dict(params)
        other[f"codebook_{level}"] = params[f"codebook_{level}"] + 1.0
        nodes = encode(other, {"image": X}, KEY)
        for i, (node, before) in enumerate(zip(nodes, trace.latents, strict=True)):
            same = np.array_equal(node.posterior.features, before.posterior.features)
            assert same == (i <= level), (level, i)
        zs = tuple(np.asarray(n.z) + np.float32(i == level) for i, n in enumerate(trace.latents))
        assert np.any(decode(params, zs).logits != trace.likelihood.logits)


def test_samples_differ(trained):
    model, params, _ = trained
    p = jax.jit(model.generate, static_argnums=2)(params, KEY, 5, None, 1.0)
    assert p.mean.shape == (5, *SHAPE)
    assert len(np.unique(np.asarray(p.mean).reshape(5, -1), axis=0)) == 5


@pytest.mark.slow
def test_gaussian_bottlenecks_are_supported():
    nodes = [bottlenecks.gaussian(2) for _ in range(2)]
    levels = networks.multiscale_networks(SHAPE, 4, 1, (2, 1), **NETWORK)
    model = multiscale_codes(levels, nodes, likelihoods.normal("learned"), SHAPE)
    params = jax.jit(model.init)(KEY, {"image": X})
    trace = jax.jit(model.forward)(params, {"image": X}, KEY, jnp.int32(0))
    assert [node.z.shape for node in trace.latents] == [(6, 2, 2, 2), (6, 4, 3, 2)]
    assert model.embed is None
    p = jax.jit(model.generate, static_argnums=2)(params, KEY, 5, None, 1.0)
    np.testing.assert_allclose(p.scale, np.ones((5, *SHAPE)), rtol=0.02)


def test_quantizer_dropout_is_active_in_training_only():
    quantizer = quantizers.residual(quantizers.vector(16, 4), 2, dropout=1.0)
    model = model_of((1, 1), quantizer)
    params = random_params(model.init, KEY, {"image": X})
    forward = jax.jit(model.forward)
    trace = forward(params, {"image": X}, KEY, jnp.int32(0))
    assert min(node.posterior.indices.min() for node in trace.latents) == -1
    trace = forward(params, {"image": X}, KEY, None)
    assert min(node.posterior.indices.min() for node in trace.latents) >= 0


def test_invalid_arguments_are_reported():
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0))}
    with pytest.raises(ValueError, match=r"need images .* shape \(7,\) and downsamplings=\(2, 1\)"):
        families.vqvae2((7,), players)
    with pytest.raises(ValueError, match=r"downsamplings=\(\)"):
        networks.multiscale_networks(SHAPE, 4, 1, ())
    with pytest.raises(ValueError, match=r"no losses .* players \['codebook_0', 'codebook_1'\]"):
        families.vqvae2(SHAPE, players)
