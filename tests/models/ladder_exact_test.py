"""Hierarchical VAEs against the exact posteriors of a linear-Gaussian hierarchy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import losses
from vaejax.core.game import chain
from vaejax.distributions import Normal, likelihoods
from vaejax.evaluation.likelihood import log_likelihood
from vaejax.latents.bottlenecks import MIN_SCALE, soft_normal
from vaejax.models import Stage, ladder
from vaejax.models.ladder import MERGES
from vaejax.networks import Network

KEY = jax.random.key(0)
A, S1, B, S = 0.8, 0.6, np.array([1.5, -0.7]), 0.5  # z1 = A z2 + S1 ε, x = B z1 + S ε


def feature(scale):
    """The feature that `soft_normal` maps to this standard deviation."""
    share = (scale - MIN_SCALE) / (1 - MIN_SCALE)
    return float(np.log2(2.0**share - 1.0))


def constant(apply):
    return Network(lambda key, *inputs: {}, lambda params, *inputs: apply(*inputs))


def linear_gaussian():
    """z2 ~ N(0, 1), z1 ~ N(A z2, S1²), x ~ N(B z1, S²), with posteriors that can be exact.

    q(z2 | x) is linear in x; q(z1 | z2, x) is the product of p(z1 | z2) and a density linear in x.
    """

    def features(loc, scale):
        return jnp.concatenate([loc, jnp.full_like(loc, feature(scale))], axis=1)

    def init(key, h, activations):
        return {"w": jnp.zeros((2, 1)), "scale": jnp.zeros((1,))}

    def apply(params, h, activations):
        loc = activations @ params["w"]
        return jnp.concatenate([loc, jnp.broadcast_to(params["scale"][None], loc.shape)], axis=1)

    update = constant(lambda h, residual, z: z)
    posterior = Network(init, apply)
    standard = constant(lambda h: features(jnp.zeros_like(h), 1.0))
    conditional = constant(lambda h: features(A * h, S1))
    identity = constant(lambda h: h)
    stages = [
        Stage(1, identity, standard, posterior, update, "posterior_only"),
        Stage(1, identity, conditional, posterior, update, "precision"),
    ]
    output = constant(lambda h: h * jnp.asarray(B, jnp.float32)[None])
    up = constant(lambda x: (x, x))
    return ladder(up, stages, output, likelihoods.normal(S), (2,), latent_dims=(1, 1))


def with_posteriors(params, top, bottom):
    """The parameters with (w, scale) of the densities of z2 and of z1 given x."""
    posteriors = {
        name: {
            "w": jnp.asarray(w, jnp.float32).reshape(1, 2, 1),
            "scale": jnp.full((1, 1), feature(scale), jnp.float32),
        }
        for name, (w, scale) in (("stage_0", top), ("stage_1", bottom))
    }
    return {**params, "encoder": {**params["encoder"], **posteriors}}


COVARIANCE = np.outer(B, B) * (A**2 + S1**2) + S**2 * np.eye(2)
# p(z2 | x) by conditioning a Gaussian; the likelihood of z1 has mean B·x / B·B, variance S² / B·B.
GAIN = A * np.linalg.solve(COVARIANCE, B)
EXACT = ((GAIN, np.sqrt(1 - A * GAIN @ B)), (B / (B @ B), S / np.sqrt(B @ B)))


@pytest.fixture(scope="module")
def truth():
    random = np.random.RandomState(0)
    x = random.multivariate_normal(np.zeros(2), COVARIANCE, 64)
    inverse = np.linalg.inv(COVARIANCE)
    log_p = -0.5 * np.einsum("bi,ij,bj->b", x, inverse, x)
    log_p -= 0.5 * np.log(np.linalg.det(2 * np.pi * COVARIANCE))
    model = linear_gaussian()
    x = jnp.asarray(x, jnp.float32)
    return model, model.init(KEY, {"vector": x}), x, log_p


def elbo_of(model, params, x, samples=4000):
    """The ELBO of each example, averaged over many samples."""
    terms = chain(losses.nll(), losses.kl())

    def sample_elbo(key):
        trace = model.forward(params, {"vector": x}, key, jnp.int32(0))
        values = terms.apply({}, {}, trace, key)
        return -(values["nll"] + values["kl"].sum(axis=1))

    keys = jax.random.split(KEY, samples)
    return np.asarray(jax.jit(jax.vmap(sample_elbo))(keys), np.float64).mean(0)


def test_the_elbo_of_exact_posteriors_is_the_marginal_likelihood(truth):
    model, params, x, log_p = truth
    elbo = elbo_of(model, with_posteriors(params, *EXACT), x, samples=20_000)
    np.testing.assert_allclose(elbo, log_p, atol=0.05)
    assert abs(elbo.mean() - log_p.mean()) < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_the_elbo_of_other_posteriors_is_below_the_marginal_likelihood(truth, seed):
    model, params, x, log_p = truth
    random = np.random.RandomState(seed)
    other = [(w + 0.4 * random.randn(2), s * np.exp(0.5 * random.randn())) for w, s in EXACT]
    elbo = elbo_of(model, with_posteriors(params, *other), x)
    assert (elbo < log_p + 0.05).all()
    assert elbo.mean() < log_p.mean() - 0.05


def test_training_reaches_the_marginal_likelihood(truth):
    """Adam on the negative ELBO, from posteriors that do not depend on x."""
    model, params, x, log_p = truth
    terms, tx = chain(losses.nll(), losses.kl()), optax.adam(0.03)

    def loss(params, key):
        trace = model.forward(params, {"vector": x}, key, jnp.int32(0))
        values = terms.apply({}, {}, trace, key)
        return (values["nll"] + values["kl"].sum(axis=1)).mean()

    def step(carry, key):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, key)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    keys = jax.random.split(KEY, 1500)
    (params, _), values = jax.jit(lambda c: jax.lax.scan(step, c, keys))((params, tx.init(params)))
    assert values[0] > -log_p.mean() + 1.0
    gap = log_p.mean() - elbo_of(model, params, x).mean()
    assert -0.01 < gap < 0.05


def test_importance_sampling_covers_all_layers(truth):
    model, params, x, log_p = truth
    worse = [(0.8 * w, 1.3 * s) for w, s in EXACT]
    params = with_posteriors(params, *worse)
    assert log_p.mean() - elbo_of(model, params, x).mean() > 0.05
    estimate = log_likelihood(model, 40_000, chunk=1000)(params, {"vector": x}, KEY)
    np.testing.assert_allclose(estimate, log_p, atol=0.05)


def test_precision_merge_is_the_product_of_two_densities():
    z = np.linspace(-8, 8, 40_001)
    prior, encoder = ((0.5, 1.2), (-1.0, 0.7))

    def density(loc, scale):
        return np.exp(-0.5 * ((z - loc) / scale) ** 2)

    product = density(*prior) * density(*encoder)
    product /= product.sum()
    mean = (product * z).sum()
    deviation = np.sqrt((product * (z - mean) ** 2).sum())
    q = MERGES["precision"](*(Normal(jnp.float32(m), jnp.float32(s)) for m, s in (prior, encoder)))
    np.testing.assert_allclose([q.loc, q.scale], [mean, deviation], rtol=1e-5)


def test_a_feature_of_zero_maps_to_a_standard_deviation_of_one():
    p = soft_normal(jnp.array([[0.0, 3.0, 0.0, -100.0]]))
    np.testing.assert_allclose(p.scale, [[1.0, MIN_SCALE]], rtol=1e-6)
    other = soft_normal(jnp.array([[0.0, 3.0, 0.0, -100.0]]), 0.2)
    np.testing.assert_allclose(other.scale, [[1.0, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(p.loc, [[0.0, 3.0]])
