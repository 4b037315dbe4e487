"""EM of the spike-and-slab lasso, and the noise variance, against numerical optimisation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize, special, stats

from vaejax.core.game import Trace
from vaejax.distributions import likelihoods
from vaejax.distributions.spike_and_slab_lasso import SpikeAndSlabLasso
from vaejax.optimizers.em_updates import closed_form_inclusion, residual_variance

RANDOM = np.random.RandomState(0)
D, K = 7, 3


def some_weights(seed=0, d=D, k=K):
    r = np.random.RandomState(seed)
    return (r.randn(d, k) * r.choice([0.02, 1.0], (d, k))).astype(np.float32)


def laplace_pair(w, theta, spike=10.0, slab=1.0):
    w = np.asarray(w, np.float64)
    return (
        theta * stats.laplace(scale=1 / slab).pdf(w),
        (1 - theta) * stats.laplace(scale=1 / spike).pdf(w),
    )


def exact(w, theta, a=1.0, b=D):
    """log p(W | θ) p(θ) by SciPy, up to the constant of the Beta density."""
    slab, spike = laplace_pair(w, theta)
    beta = special.xlogy(a - 1, theta) + special.xlog1py(b - 1, -np.asarray(theta))
    return np.log(slab + spike).sum() + np.sum(beta)


@pytest.mark.parametrize("rates", [(10.0, 1.0), (30.0, 0.1)])
def test_e_step_is_bayes_rule(rates):
    w, theta = some_weights(), np.array([0.1, 0.5, 0.9])
    slab, spike = laplace_pair(w, theta, *rates)
    prior = SpikeAndSlabLasso(*rates)
    got = prior.slab_probability(jnp.asarray(w), jnp.asarray(theta, jnp.float32))
    np.testing.assert_allclose(got, slab / (slab + spike), rtol=1e-4, atol=1e-6)


def test_log_prob_and_its_gradient_in_the_weights():
    w, theta = some_weights(1), np.array([0.1, 0.5, 0.9], np.float32)
    prior = SpikeAndSlabLasso(a=2.0)
    value, gradient = jax.value_and_grad(prior.log_prob)(jnp.asarray(w), jnp.asarray(theta))
    np.testing.assert_allclose(value, exact(w, theta, a=2.0), rtol=1e-5)
    slab, spike = laplace_pair(w, theta)
    p = slab / (slab + spike)  # the gradient of the expected log-prior in the paper's M-step
    np.testing.assert_allclose(gradient, -(1.0 * p + 10.0 * (1 - p)) * np.sign(w), rtol=1e-4)


@pytest.mark.parametrize(("a", "b"), [(1.0, None), (3.0, 2.0)])
def test_m_step_of_theta_maximises_the_expected_log_posterior(a, b):
    p = np.random.RandomState(2).rand(D, K)
    got = SpikeAndSlabLasso(a=a, b=b).inclusion_mode(jnp.asarray(p, jnp.float32))
    for k in range(K):

        def loss(theta, k=k):
            on, off = p[:, k].sum() + a - 1, (1 - p[:, k]).sum() + (b or D) - 1
            return -(on * np.log(theta) + off * np.log1p(-theta))

        best = optimize.minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded").x
        np.testing.assert_allclose(got[k], best, atol=1e-4)


def test_em_does_not_decrease_the_exact_objective_and_converges_to_its_maximum():
    w, prior = some_weights(3, d=40), SpikeAndSlabLasso()
    theta, values = jnp.array([0.02, 0.5, 0.98]), []
    em = jax.jit(lambda theta: prior.inclusion_mode(prior.slab_probability(jnp.asarray(w), theta)))
    for _ in range(100):
        values.append(exact(w, np.asarray(theta, np.float64), b=40))
        theta = em(theta)
    assert (np.diff(values) > -1e-4).all()
    assert values[-1] - values[0] > 1
    grid = np.linspace(1e-3, 1 - 1e-3, 500)
    for k in range(K):
        best = max(exact(w[:, [k]], np.array([t]), b=40) for t in grid)
        assert exact(w[:, [k]], np.asarray(theta, np.float64)[[k]], b=40) > best - 1e-3


def test_a_selectors_weights_are_updated_by_its_optimizer_and_theta_by_em():
    prior, w = SpikeAndSlabLasso(), jnp.asarray(some_weights(4))
    selector = {"weights": w, "inclusion": jnp.full(K, 0.5)}
    params = {"selector": selector, "other": jnp.arange(3.0)}
    tx, plain = closed_form_inclusion(prior, optax.adam(0.1)), optax.adam(0.1)
    without = {"weights": w, "other": params["other"]}
    state, plain_state = tx.init(params), plain.init(without)
    for i in range(3):
        g = jax.tree.map(lambda a, i=i: jnp.sin(a + i), params)
        plain_g = {"weights": g["selector"]["weights"], "other": g["other"]}
        with jax.numpy_dtype_promotion("standard"):  # as in `game.optimizer`
            u, state = tx.update(g, state, params)
            v, plain_state = plain.update(plain_g, plain_state, without)
        np.testing.assert_array_equal(u["selector"]["weights"], v["weights"])
        np.testing.assert_array_equal(u["other"], v["other"])
        theta = np.asarray(params["selector"]["inclusion"], np.float64)
        params, without = optax.apply_updates(params, u), optax.apply_updates(without, v)
        slab, spike = laplace_pair(params["selector"]["weights"], theta)
        want = (slab / (slab + spike)).sum(axis=0) / (2 * D - 1)
        np.testing.assert_allclose(params["selector"]["inclusion"], want, rtol=1e-4)


def test_closed_form_noise_is_the_mode_of_its_posterior():
    tx, feature = residual_variance(decay=0.9, df=3.0, scale=0.2), {"columns": jnp.zeros((1, D))}
    state, total, weight = tx.init(feature), 0.0, 0.0
    residuals = np.random.RandomState(5).randn(4, 6, D) * np.linspace(0.01, 3, D)
    for r in residuals:
        loc = jnp.asarray(RANDOM.randn(6, D), jnp.float32)
        p = likelihoods.normal("predicted").apply(
            jnp.concatenate([loc, jnp.broadcast_to(feature["columns"], loc.shape)], axis=1)
        )
        u, state = tx.update(feature, state, feature, trace=Trace(loc + jnp.asarray(r), p, ()))
        feature = optax.apply_updates(feature, u)
        total, weight = 0.9 * total + 0.1 * (r**2).mean(axis=0), 0.9 * weight + 0.1
    n, mean = 6 * weight / 0.1, total / weight

    def loss(variance, j):  # −log of likelihood and inverse-gamma prior
        log_p = -0.5 * n * (np.log(variance) + mean[j] / variance)
        return -(log_p + stats.invgamma(1.5, scale=0.3).logpdf(variance))

    p = likelihoods.normal("predicted").apply(jnp.concatenate([feature["columns"]] * 2, axis=1))
    for j in range(D):
        best = optimize.minimize_scalar(lambda v, j=j: loss(np.exp(v), j), bracket=(-4, 2)).x
        np.testing.assert_allclose(float(p.scale[0, j]) ** 2, np.exp(best), rtol=1e-3)
