"""Each quantizer with a codebook against its paper's formula in NumPy's float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quantizers.reference import BOOKS, KEY, TOKENS, D, K, nearest64, quantized
from vaejax.quantizers import gumbel_softmax, rotation, sim_vq, vector

RNG = np.random.RandomState(1)


def test_cosine_chooses_the_code_of_the_smallest_angle_at_unit_length():
    q, z = quantized(vector(K, D, distance="cosine"), jnp.asarray(7 * BOOKS[0]))
    unit = [a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (TOKENS, BOOKS[0])]
    want = np.einsum("btd,kd->btk", *unit).argmax(-1)
    np.testing.assert_array_equal(q.indices, want)
    np.testing.assert_allclose(z, unit[1][want], atol=1e-6)
    np.testing.assert_allclose(q.features, unit[0], atol=1e-6)


def test_rotation_rotates_the_gradient_with_the_token():
    """2410.06424, eq. 4: the Jacobian of z is (‖e‖/‖x‖) R with R x̂ = ê."""
    for x, e in zip(RNG.randn(5, D), RNG.randn(5, D), strict=True):
        x_hat, e_hat = x / np.linalg.norm(x), e / np.linalg.norm(e)
        # The rotation in the plane of the two, by Rodrigues' formula.
        cosine = x_hat @ e_hat
        normal = e_hat - cosine * x_hat
        normal /= np.linalg.norm(normal)
        sine = normal @ e_hat
        plane = np.outer(normal, x_hat) - np.outer(x_hat, normal)
        projection = np.outer(x_hat, x_hat) + np.outer(normal, normal)
        rotation_matrix = np.eye(D) + sine * plane + (cosine - 1) * projection
        np.testing.assert_allclose(rotation_matrix @ x_hat, e_hat, atol=1e-12)
        want = np.linalg.norm(e) / np.linalg.norm(x) * rotation_matrix
        x32, e32 = (jnp.asarray(a, jnp.float32) for a in (x, e))
        np.testing.assert_allclose(jax.jacobian(rotation)(x32, e32), want, atol=2e-6)
        np.testing.assert_array_equal(jax.jacobian(rotation, 1)(x32, e32), np.zeros((D, D)))
        np.testing.assert_allclose(rotation(x32, e32), e32, atol=1e-6)


def test_rotation_is_finite_at_zero_and_between_opposites():
    x = jnp.asarray(TOKENS[0, :1])
    for token, code in ((x, -x), (jnp.zeros_like(x), x), (x, jnp.zeros_like(x))):
        z, pull = jax.vjp(lambda t, code=code: rotation(t, code), token)
        np.testing.assert_allclose(z, code, atol=1e-6)
        gradient = pull(jnp.ones_like(x))[0]
        assert np.isfinite(gradient).all()
        if not np.any(token):
            np.testing.assert_array_equal(gradient, jnp.ones_like(x))


def test_sim_vq_looks_up_codes_in_the_product_and_only_the_basis_has_a_gradient():
    params = {"codes": BOOKS[0], "basis": RNG.randn(D, D).astype(np.float32)}
    params = jax.tree.map(jnp.asarray, params)
    book = np.asarray(params["codes"], np.float64) @ np.asarray(params["basis"], np.float64)
    q, z = quantized(sim_vq(K, D), params)
    want = nearest64(TOKENS, book)
    np.testing.assert_array_equal(q.indices, want)
    np.testing.assert_allclose(z, book[want], atol=1e-5)

    def loss(params):
        q, _ = sim_vq(K, D).quantize(params, jnp.asarray(TOKENS), KEY)
        return jnp.square(q.features - q.codes).sum()

    gradient = jax.jit(jax.grad(loss))(params)
    assert not np.any(gradient["codes"])
    gap = 2 * (book[want] - TOKENS).reshape(-1, D)
    chosen = np.asarray(params["codes"], np.float64)[want].reshape(-1, D)
    np.testing.assert_allclose(gradient["basis"], chosen.T @ gap, rtol=1e-4, atol=1e-4)


def test_the_codes_of_sim_vq_start_with_the_mean_and_covariance_of_the_tokens():
    dim, codes = 6, 4000
    tokens = RNG.randn(16, 25, dim) @ RNG.randn(dim, dim) + 5 * RNG.randn(dim)
    flat = tokens.reshape(-1, dim)
    params = sim_vq(codes, dim).init(KEY, jnp.asarray(tokens, jnp.float32))
    np.testing.assert_array_equal(params["basis"], np.eye(dim))
    got = np.asarray(params["codes"], np.float64)
    covariance = np.cov(flat.T, bias=True)
    deviations = np.sqrt(np.diag(covariance))
    error = 5 / np.sqrt(codes)  # five standard errors
    np.testing.assert_allclose((got - flat.mean(0)).mean(0) / deviations, 0, atol=error)
    correlation = (np.cov(got.T, bias=True) - covariance) / np.outer(deviations, deviations)
    np.testing.assert_allclose(correlation, 0, atol=np.sqrt(2) * error)


@pytest.mark.parametrize("spread", [1.0, 0.0])
def test_sim_vq_uses_many_codes_of_tokens_near_a_line_away_from_zero(spread):
    """As those of an image with a uniform background, from an encoder that is not trained yet."""
    dim, codes = 64, 256
    line = 2 + spread * RNG.randn(4, 64, 1) * RNG.randn(dim) / 4
    quantizer, tokens = sim_vq(codes, dim), jnp.asarray(line, jnp.float32)
    tokens = jnp.broadcast_to(tokens, (4, 64, dim))
    params = quantizer.init(KEY, tokens)
    assert len(np.unique(params["codes"], axis=0)) == codes
    q, _ = quantizer.quantize(params, tokens, None)
    used = len(np.unique(q.indices))
    assert used > 60 if spread else used == 1


def test_gumbel_samples_codes_with_the_probabilities_of_the_logits():
    n, logits = 4000, RNG.randn(5).astype(np.float32)
    tokens = np.broadcast_to(logits, (n, 1, 5))
    book = jnp.asarray(np.eye(5, dtype=np.float32))
    quantizer = gumbel_softmax(5, 5, temperature=0.7)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum()

    def chi_squared(count):
        return ((count - n * p) ** 2 / (n * p)).sum()

    z = np.asarray(quantized(quantizer, book, tokens)[1])[:, 0]
    assert set(np.unique(z)) == {0.0, 1.0}
    assert chi_squared(z.sum(0)) < 18.5  # χ² of 4 degrees, p = 0.001
    soft = np.asarray(quantized(quantizer.training_variant(jnp.int32(0)), book, tokens)[1])[:, 0]
    np.testing.assert_allclose(soft.sum(1), np.ones(n), rtol=1e-5)
    assert ((soft > 0.01) & (soft < 0.99)).any()
    assert chi_squared(np.bincount(soft.argmax(1), minlength=5)) < 18.5
    # With `hard`, z is the argmax of the same mixture.
    hard = gumbel_softmax(5, 5, temperature=0.7, hard=True).training_variant(jnp.int32(0))
    np.testing.assert_allclose(
        np.asarray(quantized(hard, book, tokens)[1])[:, 0], np.eye(5)[soft.argmax(1)], atol=1e-6
    )


def test_gumbel_temperature_follows_its_schedule():
    settings = {"kind": "linear", "start": 5.0, "end": 0.01, "steps": 10}
    quantizer = gumbel_softmax(5, 5, temperature=settings)
    tokens, book = RNG.randn(200, 1, 5).astype(np.float32), jnp.eye(5)
    largest = [
        float(
            quantized(quantizer.training_variant(jnp.int32(step)), book, tokens)[1].max(-1).mean()
        )
        for step in (0, 10)
    ]
    assert largest[0] < 0.5
    assert largest[1] > 0.98
