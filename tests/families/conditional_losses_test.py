"""The conditional VAE: losses and gradients by hand, GSNN by quadrature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.families.conditional import (
    BY_CLASS,
    CLASSES,
    DIM,
    HALVES,
    IMAGE,
    KEY,
    LABEL,
    SHAPE,
    STEP,
    by_class,
    dense,
    gaussians,
    gradient,
    halves,
    init,
)
from tests.families.noise import generated_noise
from vaejax.core import game


def cross_entropy(logits, x, mask=1.0):
    p = jax.nn.sigmoid(logits).reshape(x.shape)
    nll = -(x * jnp.log(p) + (1 - x) * jnp.log(1 - p))
    return (nll * mask).reshape(len(x), -1).sum(axis=1)


def kl_by_hand(q, p):
    (m, v), (n, w) = q, p
    return 0.5 * (jnp.log(w / v) + (v + (m - n) ** 2) / w - 1).sum(axis=1)


def posterior_noise(trace):
    node = trace.latents[0]
    return (node.z - node.posterior.loc) / node.posterior.scale


def assert_same_gradient(got, want):
    scale = max(float(jnp.abs(a).max()) for a in jax.tree.leaves(want))
    for path, b in jax.tree_util.tree_leaves_with_path(want):
        assert np.any(b), f"the gradient of {jax.tree_util.keystr(path)} is zero"
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * scale), got, want
    )


@pytest.mark.parametrize("learned", [True, False])
def test_hybrid_objective_and_its_gradient_equal_the_reference(learned):
    alpha = 0.3
    weights = {"nll": alpha, "kl": alpha, "gsnn": 1 - alpha}
    family = by_class(weights=weights, hybrid=True, learned_prior=learned)
    params = init(family, BY_CLASS)
    assert set(params) == {"encoder", "decoder"} | ({"prior"} if learned else set())
    c = jnp.asarray([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]], jnp.float32)
    x = jnp.asarray(IMAGE)
    grads, got, trace = gradient(family, params, BY_CLASS)
    noise = posterior_noise(trace)
    found = jax.jit(functools.partial(generated_noise, family, dim=DIM))
    prior_noise = found(params, BY_CLASS, KEY, STEP)["prior_noise"]
    assert np.abs(noise - prior_noise).min() > 1e-3, "one key for two samples"

    def by_hand(params):
        q = gaussians(dense(params["encoder"], x, c))
        standard = jnp.zeros((6, DIM)), jnp.ones((6, DIM))
        p = gaussians(dense(params["prior"], c)) if learned else standard
        z, fake = (m + jnp.sqrt(v) * e for (m, v), e in ((q, noise), (p, prior_noise)))
        nll = cross_entropy(dense(params["decoder"], z, c), x)
        gsnn = cross_entropy(dense(params["decoder"], fake, c), x)
        terms = {"nll": nll, "kl": kl_by_hand(q, p), "gsnn": gsnn}
        total = alpha * (terms["nll"] + terms["kl"]) + (1 - alpha) * gsnn
        return total.mean(), terms

    want_grads, want = jax.jit(jax.grad(by_hand, has_aux=True))(params)
    for name, value in want.items():
        actual = got[name][:, 0] if name == "kl" else got[name]
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-5)
    assert_same_gradient(grads, want_grads)


def test_gsnn_estimates_the_expectation_under_the_prior():
    family = by_class(hybrid=True, latent_dim=1)
    params = init(family, BY_CLASS)
    losses_fn = game.losses_and_trace(family)
    keys = jax.random.split(jax.random.key(5), 4000)
    sample = jax.jit(jax.vmap(lambda k: losses_fn(params, BY_CLASS, k, STEP)[0]["gsnn"]))
    samples = np.asarray(sample(keys), np.float64)  # [keys, B]
    c = jax.nn.one_hot(LABEL, CLASSES)
    loc, variance = gaussians(dense(params["prior"], c))
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    want = sum(
        w * np.asarray(
            cross_entropy(dense(params["decoder"], loc + jnp.sqrt(variance) * np.float32(t), c),
                          jnp.asarray(IMAGE)), np.float64)
        for t, w in zip(nodes, weights / weights.sum(), strict=True)
    )  # fmt: skip
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert (error > 0).all()
    assert (np.abs(samples.mean(axis=0) - want) < 5 * error + 1e-4).all()


def test_the_baseline_is_trained_by_its_loss_only_and_only_hidden_pixels_count():
    family = halves()
    params = init(family, HALVES)
    x, mask, c = (jnp.asarray(HALVES[k]) for k in ("image", "hidden", "condition"))
    grads, got, trace = gradient(family, params, HALVES)
    noise = posterior_noise(trace)
    sg = jax.lax.stop_gradient

    def by_hand(params):
        logits = dense(params["baseline"], c)
        completed = jnp.where(mask == 1, sg(jax.nn.sigmoid(logits)).reshape(x.shape), x)
        q, p = gaussians(dense(params["encoder"], x)), gaussians(dense(params["prior"], completed))
        z = q[0] + jnp.sqrt(q[1]) * noise
        nll = cross_entropy(dense(params["decoder"], z), x, mask)
        baseline = cross_entropy(logits, x, mask)
        named = {"nll": nll, "baseline_nll": baseline}
        return (nll + kl_by_hand(q, p) + baseline).mean(), named

    want_grads, want = jax.jit(jax.grad(by_hand, has_aux=True))(params)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-5)
    # Output units of observed pixels have zero gradients.
    for tree in (grads, want_grads):
        for group in ("decoder", "baseline"):
            observed = np.asarray(tree[group]["Dense_1"]["bias"]).reshape(SHAPE)[:, :2]
            np.testing.assert_array_equal(observed, 0.0)
    assert_same_gradient(grads, want_grads)
