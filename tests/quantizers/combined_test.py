"""Residual and grouped quantizers against their papers' formulas in NumPy's float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quantizers.reference import BOOKS, KEY, TOKENS, B, D, K, T, nearest64, quantized
from vaejax.quantizers import finite_scalar, grouped, residual, vector

RNG = np.random.RandomState(3)


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
