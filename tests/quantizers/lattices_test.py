"""Quantizers that round to a lattice, against their papers' formulas in NumPy's float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quantizers.reference import BOOKS, KEY, B, D, T, nearest64, quantized
from vaejax import losses
from vaejax.core.game import Latent, Trace
from vaejax.quantizers import finite_scalar, lookup_free, vector

RNG = np.random.RandomState(2)


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
