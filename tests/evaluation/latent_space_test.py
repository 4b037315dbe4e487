"""Interpolations of latents against closed forms, and the principal plane."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import families
from vaejax.core.game import Latent, Trace
from vaejax.distributions import Normal, OneHotCodes
from vaejax.evaluation import latent_space
from vaejax.evaluation.latent_space import (
    INTERPOLATIONS,
    decode_interpolations,
    principal_plane,
    vector_node,
)
from vaejax.networks import Network

RNG = np.random.RandomState(0)
interpolate = jax.jit(latent_space.interpolate, static_argnums=(2, 3))


def ends(*shape):
    return (RNG.standard_normal(shape).astype(np.float32) for _ in range(2))


@pytest.mark.parametrize("kind", INTERPOLATIONS)
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_ends_are_exact(kind, shape):
    z0, z1 = ends(*shape)
    z = np.asarray(interpolate(z0, z1, 7, kind))
    assert z.shape == (*shape[:-1], 7, 5)
    np.testing.assert_array_equal(z[..., 0, :], z0)
    np.testing.assert_array_equal(z[..., -1, :], z1)


def test_linear_interpolation_has_equal_steps():
    z0, z1 = ends(3, 5)
    z = np.asarray(interpolate(z0, z1, 5, "linear"))
    for i in range(5):
        np.testing.assert_allclose(z[:, i], (1 - i / 4) * z0 + i / 4 * z1, rtol=1e-5, atol=1e-6)


def test_spherical_interpolation_keeps_the_norm_and_has_equal_angles():
    z0, z1 = (np.asarray(z, np.float64) for z in ends(4, 6))
    z0, z1 = (3.0 * z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z0, z1))
    z = interpolate(jnp.asarray(z0, jnp.float32), jnp.asarray(z1, jnp.float32), 9, "spherical")
    z = np.asarray(z, np.float64)
    np.testing.assert_allclose(np.linalg.norm(z, axis=-1), 3.0, rtol=1e-5)
    angle = np.arccos((z0 * z1).sum(axis=1) / 9)
    steps = np.arccos(np.clip((z[:, :-1] * z[:, 1:]).sum(axis=-1) / 9, -1, 1))
    np.testing.assert_allclose(steps, np.tile(angle[:, None] / 8, (1, 8)), rtol=1e-3)
    midpoint = 3.0 * (z0 + z1) / np.linalg.norm(z0 + z1, axis=1, keepdims=True)
    np.testing.assert_allclose(z[:, 4], midpoint, rtol=1e-4, atol=1e-5)
    linear = interpolate(jnp.asarray(z0, jnp.float32), jnp.asarray(z1, jnp.float32), 9, "linear")
    assert np.linalg.norm(np.asarray(linear)[:, 4], axis=-1).max() < 2.9


@pytest.mark.parametrize("factor", [2.0, 0.0, -1.0, 1.0])
def test_spherical_interpolation_without_an_arc_is_a_line(factor):
    z0 = RNG.standard_normal((1, 4)).astype(np.float32)
    z1 = np.float32(factor) * z0
    z = interpolate(z0, z1, 5, "spherical")
    np.testing.assert_allclose(z, interpolate(z0, z1, 5, "linear"), rtol=1e-6)


def test_unknown_kind_is_reported():
    with pytest.raises(ValueError, match="did you mean 'spherical'"):
        interpolate(*ends(3), 5, "sphericle")


def test_two_dimensions_are_returned_unchanged():
    means = RNG.standard_normal((9, 2))
    points, explained = principal_plane(means)
    assert points is means
    assert explained is None


def test_principal_plane_by_eigenvectors_of_the_covariance():
    means = RNG.standard_normal((200, 5)) @ RNG.standard_normal((5, 5)) + 7.0
    points, explained = principal_plane(means.astype(np.float32))
    values, vectors = np.linalg.eigh(np.cov(means.T))
    assert explained == pytest.approx(values[-2:].sum() / values.sum(), rel=1e-4)
    assert 0.3 < explained < 1.0
    for i in (0, 1):
        axis = vectors[:, -1 - i]
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        np.testing.assert_allclose(points[:, i], (means - means.mean(axis=0)) @ axis, atol=2e-4)


def identity_decoder(count=12):
    """A family whose decoder outputs z, and a trace with two samples of each example."""
    identity = Network(lambda key, z: {}, lambda params, z: z.reshape(-1, 2, 2, 1))
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0))}
    family = families.beta_vae(
        (2, 2, 1), players, latent_dim=4, network=(identity, identity), likelihood="normal"
    )
    x = jnp.asarray(RNG.rand(count, 2, 2, 1), jnp.float32)
    loc = jnp.asarray(np.repeat(RNG.rand(count, 4), 2, axis=0), jnp.float32)
    q = Normal(loc, jnp.ones_like(loc))
    return family, Trace(x, None, (Latent(q, q, loc + 9.0),))


def test_interpolations_are_decoded():
    family, trace = identity_decoder()
    means = np.asarray(trace.latents[0].posterior.mean)[::2]
    pairs = np.array([[0, 5], [3, 1], [2, 4]])
    images = decode_interpolations(family, {"encoder": {}, "decoder": {}}, means, pairs, steps=5)
    assert images.shape == (3, 2, 5, 2, 2, 1)
    for row, (i, j) in zip(np.asarray(images), pairs, strict=True):
        for images_of_kind, kind in zip(row, INTERPOLATIONS, strict=True):
            expected = interpolate(means[i], means[j], 5, kind)
            np.testing.assert_allclose(images_of_kind.reshape(5, 4), expected, rtol=1e-5)


def test_condition_of_an_interpolation_is_that_of_its_first_example():
    family, _ = identity_decoder()

    def decode(params, zs, condition):
        return Normal(zs[0] + condition["label"][:, None].astype(jnp.float32), zs[0])

    family = family._replace(model=family.model._replace(decode=decode))
    conditions = {"label": jnp.array([10, 20, 30])}
    out = decode_interpolations(
        family, {}, jnp.zeros((3, 4)), np.array([[0, 1], [2, 0]]), 3, conditions
    )
    np.testing.assert_array_equal(out[0], np.full((2, 3, 4), 10.0))
    np.testing.assert_array_equal(out[1], np.full((2, 3, 4), 30.0))


def test_vector_node():
    _, trace = identity_decoder()
    (node,) = trace.latents
    assert vector_node(trace.latents) is node
    assert vector_node((node, node)) is None
    assert vector_node((node._replace(z=jnp.zeros((4, 2, 2))),)) is None
    codes = OneHotCodes(node.z, node.z, jnp.zeros(24, jnp.int32), 5)
    assert vector_node((node._replace(posterior=codes),)) is None
