"""Each loss against NumPy written out by hand from a trace's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import losses
from vaejax.core import game
from vaejax.core.game import Latent, Trace
from vaejax.distributions import Bernoulli, Normal, OneHotCodes, Uniform

KEY = jax.random.key(0)
RNG = np.random.RandomState(0)


def rand(*shape):
    return RNG.rand(*shape).astype(np.float32)


def gaussian_node(*shape):
    q = Normal(jnp.asarray(rand(*shape)), jnp.asarray(rand(*shape) + 0.5))
    p = Normal(jnp.asarray(rand(*shape)), jnp.asarray(rand(*shape) + 0.5))
    return Latent(q, p, q.loc)


def codes_node(features, codes):
    indices = jnp.zeros(features.shape[:-1], jnp.int32)
    return Latent(OneHotCodes(features, codes, indices, 8), Uniform(8, indices.shape), codes)


def closed_form_kl(node):
    m, s = (np.asarray(a, np.float64) for a in (node.posterior.loc, node.posterior.scale))
    pm, ps = (np.asarray(a, np.float64) for a in (node.prior.loc, node.prior.scale))
    kl = np.log(ps / s) + (s**2 + (m - pm) ** 2) / (2 * ps**2) - 0.5
    return kl.reshape(len(kl), -1).sum(1)


def evaluate(transform, trace, before=None):
    return transform.apply(before or {}, {}, trace, KEY)


def test_sum_event_sums_all_but_the_batch():
    x = rand(3, 4, 5, 2)
    np.testing.assert_allclose(losses.sum_event(jnp.asarray(x)), x.sum((1, 2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(losses.sum_event(jnp.arange(3.0)), np.arange(3.0))


def test_nll_is_minus_the_log_probability_summed_over_the_event():
    x, logits = (rand(3, 4, 4, 1) > 0.5).astype(np.float32), 4 * rand(3, 4, 4, 1) - 2
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    want = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3))
    got = evaluate(losses.nll(), Trace(jnp.asarray(x), Bernoulli(jnp.asarray(logits)), ()))
    assert set(got) == {"nll"}
    np.testing.assert_allclose(got["nll"], want, rtol=1e-5)

    loc, scale = rand(3, 6), 0.3
    want = 0.5 * ((x.reshape(3, -1)[:, :6] - loc) / scale) ** 2 + np.log(scale * np.sqrt(2 * np.pi))
    trace = Trace(jnp.asarray(x.reshape(3, -1)[:, :6]), Normal(loc, jnp.full((3, 6), scale)), ())
    np.testing.assert_allclose(evaluate(losses.nll(), trace)["nll"], want.sum(1), rtol=1e-5)


def test_nll_refuses_a_likelihood_of_another_shape():
    trace = Trace(jnp.zeros((3, 4)), Bernoulli(jnp.zeros((3, 5))), ())
    with pytest.raises(AssertionError):
        evaluate(losses.nll(), trace)


def test_kl_has_a_column_for_each_node_in_closed_form():
    nodes = gaussian_node(5, 3), gaussian_node(5, 2, 4)
    got = evaluate(losses.kl(), Trace(jnp.zeros((5, 1)), None, nodes))
    assert set(got) == {"kl"}
    want = np.stack([closed_form_kl(node) for node in nodes], axis=1)
    np.testing.assert_allclose(got["kl"], want, rtol=1e-5)


def test_kl_of_codes_is_log_k_a_token_and_has_no_gradient():
    def kl(features):
        node = codes_node(features, jnp.ones((2, 3, 3, 4)))
        return evaluate(losses.kl(), Trace(jnp.zeros((2, 1)), None, (node,)))["kl"]

    features = jnp.asarray(rand(2, 3, 3, 4))
    np.testing.assert_allclose(kl(features), np.full((2, 1), 9 * np.log(8)), rtol=1e-6)
    assert not np.any(jax.grad(lambda f: kl(f).sum())(features))


def test_vq_is_the_squared_distance_with_a_column_for_each_quantizer_only():
    shapes = (4, 3, 3, 2), (4, 5, 7)
    pairs = [(rand(*shape), rand(*shape)) for shape in shapes]
    nodes = [codes_node(jnp.asarray(f), jnp.asarray(e)) for f, e in pairs]
    trace = Trace(jnp.zeros((4, 1)), None, (nodes[0], gaussian_node(4, 2), nodes[1]))
    want = [((f - e) ** 2).reshape(4, -1).sum(1) for f, e in pairs]
    got = evaluate(losses.vq(), trace)
    assert set(got) == {"vq"}
    np.testing.assert_allclose(got["vq"], np.stack(want, axis=1), rtol=1e-5)


def test_vq_has_gradients_for_features_and_codes():
    f, e = jnp.asarray(rand(4, 6)), jnp.asarray(rand(4, 6))

    def loss(f, e):
        trace = Trace(jnp.zeros((4, 1)), None, (codes_node(f, e),))
        return evaluate(losses.vq(), trace)["vq"].sum()

    to_features, to_codes = jax.grad(loss, (0, 1))(f, e)
    np.testing.assert_allclose(to_features, 2 * (f - e), rtol=1e-6)
    np.testing.assert_allclose(to_codes, 2 * (e - f), rtol=1e-6)


def test_vq_without_a_quantizer_is_reported():
    trace = Trace(jnp.zeros((4, 1)), None, (gaussian_node(4, 2),))
    with pytest.raises(ValueError, match=r"needs a quantizer, but the posteriors are \['Normal'\]"):
        evaluate(losses.vq(), trace)


@pytest.mark.parametrize("target", [0.0, 2.5, 1000.0])
def test_capacity_is_the_distance_of_the_mean_kl_from_the_target(target):
    nodes = gaussian_node(5, 3), gaussian_node(5, 4)
    step = jnp.asarray(3, jnp.int32)
    chain = game.chain(losses.kl(), losses.capacity(lambda t: t / 3 * target))
    got = evaluate(chain, Trace(jnp.zeros((5, 1)), None, nodes, step=step))
    total = sum(closed_form_kl(node) for node in nodes).mean()
    assert got["kl_capacity"].shape == ()
    np.testing.assert_allclose(got["kl_capacity"], abs(total - target), rtol=1e-5)
