"""σ-VAE: the optimal σ in closed form against SciPy, and learned σ against the optimal one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaejax import losses, networks
from vaejax.core.game import Trace
from vaejax.distributions import Masked, Normal, likelihoods

RNG = np.random.RandomState(0)
X = jnp.asarray(RNG.rand(6, 4, 4, 2), jnp.float32)
MEAN = X + 0.3 * jnp.asarray(RNG.randn(*X.shape), jnp.float32)
MSE = np.square(np.asarray(MEAN - X, np.float64)).mean()


def evaluate(transform, p):
    return transform.apply({}, {}, Trace(X, p, ()), jax.random.key(0))


def test_the_optimal_nll_is_that_of_the_optimal_sigma():
    got = evaluate(losses.nll_optimal(), Normal(MEAN, jnp.ones_like(X)))["nll_optimal"]

    def nll(scale):
        return -scipy.stats.norm.logpdf(X, MEAN, scale).sum() / len(X)

    assert got.shape == ()
    np.testing.assert_allclose(got, nll(np.sqrt(MSE)), rtol=1e-5)
    for factor in (0.9, 1.1):
        assert nll(factor * np.sqrt(MSE)) > float(got) + 0.1


@pytest.mark.parametrize("error", [0.0, 1e-6, 1e-3])
def test_the_optimal_sigma_has_a_floor(error):
    """An exact reconstruction has the nll of the smallest σ of a learned one, and no gradient."""
    smallest = np.exp(likelihoods.MIN_LOG_SCALE)

    def optimal(mean):
        return evaluate(losses.nll_optimal(), Normal(mean, jnp.ones_like(X)))["nll_optimal"]

    got, gradient = jax.value_and_grad(optimal)(X + error)
    difference = np.asarray(X + error) - np.asarray(X)
    want = -scipy.stats.norm.logpdf(difference, 0, smallest).sum() / len(X)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    slope = difference / smallest**2 / len(X)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)


def test_the_optimal_nll_of_masked_events_is_of_the_explained_part():
    mask = np.float32(np.random.RandomState(1).rand(6, 4, 4, 1) < 0.4)
    p = Masked(Normal(MEAN, jnp.ones_like(X)), jnp.asarray(mask), X)
    got = evaluate(losses.nll_optimal(), p)["nll_optimal"]
    explained = np.asarray(MEAN - X, np.float64)[np.broadcast_to(mask, X.shape) > 0]
    scale = np.sqrt(np.square(explained).mean())
    want = -scipy.stats.norm.logpdf(explained, 0, scale).sum() / len(X)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_its_gradient_is_that_of_the_nll_at_the_optimal_sigma():
    def optimal(mean):
        return evaluate(losses.nll_optimal(), Normal(mean, jnp.ones_like(X)))["nll_optimal"]

    def plugged_in(mean):
        return evaluate(losses.nll(), Normal(mean, jnp.full_like(X, np.sqrt(MSE))))["nll"].mean()

    np.testing.assert_allclose(jax.grad(optimal)(MEAN), jax.grad(plugged_in)(MEAN), rtol=1e-4)


def test_a_learned_sigma_is_a_parameter_of_the_decoder_and_converges_to_the_optimum():
    p = likelihoods.likelihood({"kind": "normal", "scale": "learned"})
    assert p.width(2) == 2
    identity = networks.Network(lambda key, x: {}, lambda params, x: x)
    decoder = networks.bind_constants(identity, p.constants)
    params = decoder.init(jax.random.key(0), MEAN)
    start = p.apply(decoder.apply(params, MEAN))
    np.testing.assert_array_equal(start.loc, MEAN)
    np.testing.assert_allclose(start.scale, np.ones(X.shape), rtol=5e-3)

    def loss(params):
        return evaluate(losses.nll(), p.apply(decoder.apply(params, MEAN)))["nll"].mean()

    def descend(params, _):
        gradient = jax.grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.005 * g, params, gradient), None

    params, _ = jax.lax.scan(descend, params, None, 200)
    scale = p.apply(decoder.apply(params, MEAN)).scale
    np.testing.assert_allclose(scale, np.full(X.shape, np.sqrt(MSE)), rtol=1e-3)
    best = evaluate(losses.nll_optimal(), Normal(MEAN, jnp.ones_like(X)))["nll_optimal"]
    np.testing.assert_allclose(loss(params), best, rtol=1e-5)


def test_a_predicted_sigma_has_one_value_per_element():
    p = likelihoods.likelihood({"kind": "normal", "scale": "predicted"})
    assert (p.width(2), p.constants) == (4, 0)
    log_scale = jnp.asarray(RNG.randn(*X.shape), jnp.float32)
    density = p.apply(jnp.concatenate([MEAN, log_scale], axis=-1))
    np.testing.assert_array_equal(density.loc, MEAN)
    np.testing.assert_allclose(density.scale, np.exp(log_scale), rtol=0.05)
    lowest = p.apply(jnp.concatenate([MEAN, jnp.full_like(X, -50.0)], axis=-1))
    np.testing.assert_allclose(lowest.scale, np.full(X.shape, np.exp(-6)), rtol=1e-5)


def test_an_unknown_string_for_sigma_is_refused():
    with pytest.raises(ValueError, match=r"'lerned' .*did you mean 'learned'"):
        likelihoods.normal("lerned")


def test_constants_are_appended_to_the_channels_at_every_position():
    inner = networks.Network(lambda key, x: jnp.float32(2.0), lambda params, x: params * x)
    network = networks.bind_constants(inner, 3)
    params = network.init(jax.random.key(0), X)
    np.testing.assert_array_equal(params["constants"], np.zeros(3))
    params["constants"] = jnp.asarray([1.0, 2.0, 3.0])
    out = network.apply(params, X)
    np.testing.assert_array_equal(out[..., :2], 2 * X)
    np.testing.assert_array_equal(out[..., 2:], np.broadcast_to([1, 2, 3], (*X.shape[:3], 3)))
