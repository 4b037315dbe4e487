"""The interface of every quantizer: shapes, round trips, gradients, compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import quantizers
from vaejax.distributions import Categorical, OneHotCodes, Uniform, kl
from vaejax.losses.metrics import codes_of
from vaejax.quantizers import (
    QUANTIZERS,
    bottleneck,
    build,
    finite_scalar,
    grouped,
    gumbel_softmax,
    lookup_free,
    residual,
    sim_vq,
    vector,
)

KEY = jax.random.key(0)
LEAD = (6, 3, 2)

TABLE = {
    "vector": lambda: vector(16, 4),
    "cosine": lambda: vector(16, 4, distance="cosine"),
    "rotation": lambda: vector(16, 4, gradient="rotation"),
    "uniform start": lambda: vector(16, 4, start="uniform"),
    "sim_vq": lambda: sim_vq(16, 4),
    "finite_scalar": lambda: finite_scalar((8, 5, 3)),
    "lookup_free": lambda: lookup_free(5),
    "gumbel_softmax": lambda: gumbel_softmax(16, 4),
    "residual": lambda: residual(vector(16, 4), 3),
    "residual, shared": lambda: residual(vector(16, 4), 3, shared=True),
    "residual sim_vq": lambda: residual(sim_vq(16, 4), 2),
    "residual lattice": lambda: residual(finite_scalar((5, 5)), 3, shrink=0.25),
    "grouped": lambda: grouped(vector(16, 2), 3),
    "grouped lattice": lambda: grouped(lookup_free(3), 2),
    "grouped gumbel": lambda: grouped(gumbel_softmax(8, 3), 2),
    "residual grouped": lambda: residual(grouped(vector(8, 2), 2), 3),
    "grouped residual": lambda: grouped(residual(vector(8, 2), 3), 2),
    "projected": lambda: (vector(16, 4), 10),
}


def make(name):
    entry = TABLE[name]()
    quantizer, width = entry if type(entry) is tuple else (entry, None)
    return quantizer, bottleneck(quantizer, width=width)


def features_of(b):
    return jnp.asarray(np.random.RandomState(1).randn(*LEAD, b.width), jnp.float32)


# Of quantizers that are made of quantizers, these are slow tests.
_SLOW = ("grouped gumbel", "grouped residual", "residual grouped", "residual sim_vq")


@pytest.fixture(
    params=[pytest.param(n, marks=[pytest.mark.slow] * (n in _SLOW)) for n in TABLE],
    scope="module",
)
def case(request):
    quantizer, b = make(request.param)
    b = b._replace(apply=jax.jit(b.apply), embed=jax.jit(b.embed))
    x = features_of(b)
    params = jax.jit(b.init)(KEY, x)
    return quantizer, b, params, x, b.apply(params, x, KEY)


def test_every_kind_is_in_this_table():
    kinds = " ".join(TABLE)
    assert all(kind in kinds for kind in QUANTIZERS)


def test_embedding_the_indices_gives_z(case):
    """Round trip: the decoder's input can be computed from the indices alone."""
    quantizer, b, params, x, node = case
    if quantizer.stochastic:
        assert isinstance(node.posterior, Categorical)
        indices, size = codes_of(node)
        # For nearly one-hot logits the sample is the most likely code.
        logits = 100.0 * jax.nn.one_hot(indices, size)
        node = b.apply(params, logits.reshape(x.shape), KEY)
    else:
        assert isinstance(node.posterior, OneHotCodes)
        indices, size = node.posterior.indices, node.posterior.size
    assert size == quantizer.size
    assert indices.dtype == jnp.int32
    assert indices.shape == (*LEAD, *quantizer.shape)
    assert indices.min() >= 0
    assert indices.max() < quantizer.size
    z = b.embed(params, indices)
    assert z.shape == node.z.shape
    np.testing.assert_allclose(z, node.z, atol=2e-6)


def test_quantising_embedded_indices_gives_the_indices(case):
    """The other round trip: z of any indices has the same indices when quantised again."""
    quantizer, b, params, _, _ = case
    if quantizer.stochastic or quantizer.shape or "projection" in params:
        pytest.skip("only where z is a token")
    indices = jnp.arange(quantizer.size, dtype=jnp.int32)
    z = b.embed(params, indices)
    assert len(np.unique(np.asarray(z), axis=0)) == quantizer.size
    if isinstance(params.get("codebook"), dict) or "codebook" in params:
        tokens = z
    else:
        tokens = _inverse_bound(z, (8, 5, 3)) if quantizer.dim == 3 else z
    again = b.apply(params, tokens[:, None], KEY).posterior.indices[:, 0]
    np.testing.assert_array_equal(again, indices)


def _inverse_bound(z, levels):
    """A token that finite_scalar quantises to z, by the paper's formula inverted in float64."""
    levels = np.asarray(levels)
    half = (levels - 1) * (1 - 1e-3) / 2
    offset = np.where(levels % 2 == 0, 0.5, 0.0)
    bounded = (np.asarray(z, np.float64) * (levels // 2) + offset) / half
    return jnp.asarray(
        np.arctanh(np.clip(bounded, -0.9999, 0.9999)) - np.arctanh(offset / half), jnp.float32
    )


def test_the_prior_is_uniform_and_its_kl_counts_every_index(case):
    quantizer, _, _, _, node = case
    assert node.prior == Uniform(quantizer.size, (*LEAD, *quantizer.shape))
    if quantizer.stochastic:
        p = jax.nn.softmax(np.asarray(node.posterior.logits, np.float64))
        want = (p * np.log(p)).sum() + p[..., 0].size * np.log(quantizer.size)
    else:
        want = np.prod([*LEAD, *quantizer.shape]) * np.log(quantizer.size)
    np.testing.assert_allclose(kl(*node).sum(), want, rtol=1e-5)


def test_samples_from_the_prior_are_embedded_random_indices(case):
    quantizer, b, params, x, node = case
    z = jax.jit(b.sample_prior, static_argnums=2)(params, KEY, x.shape, 1.0)
    assert z.shape == node.z.shape
    indices = jax.random.randint(KEY, (*LEAD, *quantizer.shape), 0, quantizer.size, jnp.int32)
    np.testing.assert_allclose(z, b.embed(params, indices), atol=1e-6)


def test_the_gradient_of_z_reaches_the_features_and_is_finite(case):
    _, b, params, x, node = case
    weight = jnp.asarray(np.random.RandomState(2).randn(*node.z.shape), jnp.float32)
    variant = b.training_variant(jnp.int32(0)) if b.training_variant else b

    def loss(params, x):
        return (variant.apply(params, x, KEY).z * weight).sum()

    to_params, to_x = jax.jit(jax.grad(loss, (0, 1)))(params, x)
    assert np.isfinite(to_x).all()
    assert np.any(to_x != 0)
    for leaf in jax.tree.leaves(to_params):
        assert np.isfinite(leaf).all()


def test_the_distance_to_the_codes_has_a_gradient_for_the_codebook_only(case):
    quantizer, b, params, x, _ = case
    if quantizer.stochastic or not quantizer.has_params:
        pytest.skip("no codebook with a gradient from the distance")

    def loss(params):
        q = b.apply(params, x, KEY).posterior
        return jnp.square(jax.lax.stop_gradient(q.features) - q.codes).sum()

    noise = np.random.RandomState(3)  # the initial codebook of k-means is an optimum
    params = jax.tree.map(
        lambda p: np.asarray(p) + np.asarray(0.2 * noise.randn(*p.shape), p.dtype), params
    )
    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    before, gradient = value_and_gradient(params)
    for group, grads in gradient.items():
        assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(grads)) == (group == "codebook")
    moved = jax.tree.map(
        lambda p, g: np.asarray(p) - np.float32(1e-2) * np.asarray(g), params, gradient
    )
    assert float(value_and_gradient(moved)[0]) < float(before)


def test_quantizers_are_built_from_settings(case):
    assert build("vector").size == 512
    assert build({"kind": "residual", "levels": 2, "quantizer": "vector"}).shape == (2,)
    nested = {"kind": "grouped", "groups": 2, "quantizer": {"kind": "finite_scalar"}}
    assert build(nested).dim == 8
    assert build(case[0]) is case[0]


@pytest.mark.parametrize(
    ("build_it", "message"),
    [
        (lambda: build("vectr"), "unknown quantizer 'vectr' .* did you mean 'vector'"),
        (lambda: build({"kind": "vector", "code": 3}), "did you mean 'codes'"),
        (lambda: vector(distance="cosin"), "unknown distance .*'cosin'.*'cosine'"),
        (lambda: vector(gradient="rotate"), "unknown gradient .*'rotation'"),
        (lambda: vector(start="kmean"), "unknown start .*'kmeans'"),
        (lambda: sim_vq(gradient="x"), "unknown gradient of sim_vq"),
        (lambda: finite_scalar((8, 2)), r"3 levels or more .*\(8, 2\)"),
        (lambda: finite_scalar((1024,) * 4), "fewer than 2³¹ codes"),
        (lambda: lookup_free(31), "1 to 30 bits, found 31"),
        (lambda: grouped(vector(), 0), "at least one group"),
        (lambda: residual(vector(), 0), "levels ≥ 1"),
        (lambda: residual(vector(), 2, dropout=2.0), "dropout=2.0"),
        (lambda: residual(gumbel_softmax(), 2), "not one that samples codes"),
        (lambda: residual(vector(), 2, gradient="x"), "unknown gradient of residual"),
    ],
)
def test_invalid_arguments_are_reported(build_it, message):
    with pytest.raises(ValueError, match=message):
        build_it()


def test_gradient_estimators():
    assert set(quantizers.ESTIMATORS) == {"straight_through", "rotation"}
