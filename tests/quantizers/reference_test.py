"""Each quantizer against its paper's formula in NumPy's float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import losses
from vaejax.core.game import Latent, Trace
from vaejax.quantizers import (
    finite_scalar,
    grouped,
    gumbel_softmax,
    lookup_free,
    residual,
    rotation,
    sim_vq,
    vector,
)

KEY = jax.random.key(0)
RNG = np.random.RandomState(0)
B, T, K, D = 8, 6, 16, 4
TOKENS = RNG.randn(B, T, D).astype(np.float32)
BOOKS = RNG.randn(3, K, D).astype(np.float32)


def nearest64(tokens, codebook):
    gaps = tokens[..., None, :].astype(np.float64) - codebook.astype(np.float64)
    return (gaps**2).sum(-1).argmin(-1)


def quantized(quantizer, params, tokens=TOKENS, key=KEY):
    return jax.jit(quantizer.quantize)(params, jnp.asarray(tokens), key)


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


@pytest.mark.parametrize("levels", [(8, 6, 5), (7, 5), (3, 3, 4)])
def test_finite_scalar_rounds_to_the_nearest_of_its_levels(levels):
    quantizer, count = finite_scalar(levels), np.asarray(levels)
    tokens = (3 * RNG.randn(40, 5, len(levels))).astype(np.float32)
    q, z = quantized(quantizer, None, tokens)
    # 2309.15505, appendix A: the bounding function, with atanh for the shift.
    half = (count - 1) * (1 - 1e-3) / 2
    offset = np.where(count % 2 == 0, 0.5, 0.0)
    bounded = np.tanh(tokens.astype(np.float64) + np.arctanh(offset / half)) * half - offset
    np.testing.assert_allclose(z, np.round(bounded) / (count // 2), atol=1e-6)
    values = [len(np.unique(np.asarray(z)[..., i])) for i in range(len(levels))]
    assert values == list(levels)
    assert np.abs(z).max() <= 1
    zero = quantized(quantizer, None, np.zeros((1, 1, len(levels)), np.float32))[1]
    assert not np.any(zero)  # a token of zero is the code of zero
    digits = np.round(np.asarray(z) * (count // 2)).astype(int) + count // 2
    want = np.ravel_multi_index(tuple(np.moveaxis(digits, -1, 0)), levels, order="F")
    np.testing.assert_array_equal(q.indices, want)


def test_the_entropy_of_the_use_of_many_bits_is_that_of_two_groups():
    """Eight tokens on their codes: eight patterns of the first 15 bits, four of the last."""
    first = np.asarray(list(itertools.product([-1, 1], repeat=3)))[:, np.arange(15) % 3]
    last = np.asarray(list(itertools.product([-1, 1], repeat=2)))[np.arange(8) // 2][
        :, np.arange(15) % 2
    ]
    tokens = 30.0 * np.concatenate([first, last], axis=1, dtype=np.float32)[None]  # [1, 8, 30]
    q, z = quantized(lookup_free(30), None, tokens)
    trace = Trace(jnp.zeros((1, 1)), None, (Latent(q, None, z),))
    got = losses.code_entropies().apply({}, {}, trace, KEY)
    np.testing.assert_allclose(got["usage_entropy"], 8 * (np.log(8) + np.log(4)), rtol=1e-6)
    np.testing.assert_allclose(got["token_entropy"], 0, atol=1e-6)


def test_lookup_free_finds_the_nearest_corner_of_the_cube():
    bits = 5
    tokens = RNG.randn(B, T, bits).astype(np.float32)
    corners = np.asarray(list(itertools.product([-1, 1], repeat=bits)))[:, ::-1]
    q, z = quantized(lookup_free(bits), None, tokens)
    want = nearest64(tokens, corners)
    np.testing.assert_array_equal(q.indices, want)
    np.testing.assert_array_equal(z, corners[want])


def test_spherical_codes_are_the_nearest_corners_on_the_unit_sphere():
    """BSQ (2406.07548, eqs. 5 and 6), and its straight-through gradient past the normalisation."""
    bits = 5
    tokens = RNG.randn(B, T, bits).astype(np.float32)
    length = np.linalg.norm(tokens.astype(np.float64), axis=-1, keepdims=True)
    corners = np.asarray(list(itertools.product([-1, 1], repeat=bits)))[:, ::-1] / np.sqrt(bits)
    quantizer = lookup_free(bits, spherical=True)
    q, z = quantized(quantizer, None, tokens)
    want = nearest64(tokens / length, corners)
    np.testing.assert_array_equal(q.indices, want)
    np.testing.assert_allclose(z, corners[want], rtol=1e-6)
    np.testing.assert_allclose(q.features, tokens / length, rtol=1e-5)
    np.testing.assert_allclose(quantizer.embed(None, q.indices), z, rtol=1e-6)
    weight = RNG.randn(B, T, bits)
    slope = jax.grad(lambda x: (weight * quantizer.quantize(None, x, None)[1]).sum())(tokens)
    unit = tokens / length
    exact = (weight - unit * (weight * unit).sum(-1, keepdims=True)) / length
    np.testing.assert_allclose(slope, exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("temperature", "spherical"), [(0.5, False), (2.0, False), (0.1, True)])
def test_code_entropies_are_those_of_all_codes(temperature, spherical):
    """MAGVIT-v2 (2310.05737, eq. 5) with p(c | token) of every one of the 2^D codes."""
    bits = 5
    tokens = RNG.randn(B, T, bits).astype(np.float32)
    corners = np.asarray(list(itertools.product([-1, 1], repeat=bits)))
    exact = tokens[:, :, None].astype(np.float64)
    if spherical:
        corners = corners / np.sqrt(bits)
        exact = exact / np.linalg.norm(exact, axis=-1, keepdims=True)
    distance = ((exact - corners) ** 2).sum(-1)
    p = np.exp(-distance / temperature)
    p /= p.sum(-1, keepdims=True)  # [B, T, 2^D]
    token = -(p * np.log(p)).sum((1, 2))
    mean = p.mean((0, 1))
    usage = -T * (mean * np.log(mean)).sum()
    q, z = quantized(lookup_free(bits, spherical), None, tokens)
    trace = Trace(jnp.zeros((B, 1)), None, (Latent(q, None, z),))
    got = losses.code_entropies(temperature).apply({}, {}, trace, KEY)
    np.testing.assert_allclose(got["token_entropy"], token, rtol=1e-5)
    np.testing.assert_allclose(got["usage_entropy"], usage, rtol=1e-5)
    q, z = quantized(vector(15, D), jnp.asarray(BOOKS[0, :15]))
    with pytest.raises(ValueError, match="found 15 codes of 4 dim"):
        losses.code_entropies().apply({}, {}, trace._replace(latents=(Latent(q, None, z),)), KEY)


def residual64(tokens, books):
    left, indices, features = tokens.astype(np.float64), [], []
    for book in books:
        features.append(left)
        indices.append(nearest64(left, book))
        left = left - book[indices[-1]]
    return tokens - left, np.stack(indices, -1), np.stack(features, -2)


@pytest.mark.parametrize("shared", [False, True])
def test_residual_quantises_the_remainder_of_the_levels_before(shared):
    params = BOOKS[0] if shared else BOOKS
    q, z = quantized(residual(vector(K, D), 3, shared=shared), jnp.asarray(params))
    books = [BOOKS[0]] * 3 if shared else BOOKS
    total, indices, features = residual64(TOKENS, books)
    np.testing.assert_array_equal(q.indices, indices)
    np.testing.assert_allclose(q.features, features, atol=1e-5)
    np.testing.assert_allclose(z, total, atol=1e-5)


def test_residuals_shrink_from_level_to_level_with_initial_codebooks():
    quantizer = residual(vector(K, D), 4)
    tokens = jnp.asarray(RNG.randn(64, 8, D), jnp.float32)
    params = jax.jit(quantizer.init)(KEY, tokens)
    q, z = quantized(quantizer, params, tokens)
    sizes = jnp.square(q.features).sum(-1).mean((0, 1))  # [Q]
    assert (np.diff(sizes) < -0.1 * np.asarray(sizes[:-1])).all(), sizes
    assert jnp.square(tokens - z).sum(-1).mean() < sizes[-1]


def test_dropped_levels_have_no_code_and_no_loss():
    n = 400
    tokens = RNG.randn(n, T, D).astype(np.float32)
    quantizer = residual(vector(K, D), 3, dropout=0.6)
    assert quantized(quantizer, jnp.asarray(BOOKS), tokens)[0].indices.min() >= 0
    q, z = quantized(quantizer.training_variant(jnp.int32(0)), jnp.asarray(BOOKS), tokens)
    kept = (np.asarray(q.indices) >= 0).sum(-1)  # [n, T]
    np.testing.assert_array_equal(kept, np.repeat(kept[:, :1], T, axis=1))
    share = np.bincount(kept[:, 0], minlength=4)[1:] / n
    np.testing.assert_allclose(share, [0.2, 0.2, 0.6], atol=0.08)  # three standard deviations
    for level in (1, 2, 3):
        rows = kept[:, 0] == level
        total, indices, _ = residual64(tokens[rows], BOOKS[:level])
        np.testing.assert_allclose(np.asarray(z)[rows], total, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(q.indices)[rows][..., :level], indices)
    np.testing.assert_allclose(z, quantizer.embed(jnp.asarray(BOOKS), q.indices), atol=1e-5)
    dropped = np.asarray(q.indices) < 0
    assert not np.any(np.asarray(q.features - q.codes)[dropped])


def test_shrink_scales_the_input_and_the_codes_of_each_level():
    quantizer = residual(finite_scalar((5, 5)), 3, shrink=0.25)
    tokens = (0.3 * RNG.randn(B, T, 2)).astype(np.float32)
    q, z = quantized(quantizer, None, tokens)
    left, total = tokens, np.zeros_like(tokens)
    for i in range(3):
        step, code = quantized(finite_scalar((5, 5)), None, left / 0.25**i)
        np.testing.assert_array_equal(q.indices[..., i], step.indices)
        total = total + 0.25**i * np.asarray(code)
        left = left - 0.25**i * np.asarray(code)
    np.testing.assert_allclose(z, total, atol=1e-6)


def test_groups_are_quantised_independently():
    tokens = RNG.randn(B, T, 3 * D).astype(np.float32)
    q, z = quantized(grouped(vector(K, D), 3), jnp.asarray(BOOKS), tokens)
    for g in range(3):
        piece = slice(g * D, (g + 1) * D)
        want, z_g = quantized(vector(K, D), jnp.asarray(BOOKS[g]), tokens[..., piece])
        np.testing.assert_array_equal(q.indices[..., g], want.indices)
        np.testing.assert_array_equal(q.codes[..., g, :], want.codes)
        np.testing.assert_allclose(z[..., piece], z_g, atol=1e-6)


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
