"""Sampling of tokens: truncation against NumPy, frequencies against known probabilities."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.random_params import random_params
from vaejax.core.token_layout import CodeMap, Layout
from vaejax.networks import Autoregressive, build_autoregressive
from vaejax.second_stage import sample_sequences, truncate_logits

KEY = jax.random.key(0)
LOGITS = np.random.RandomState(0).randn(40, 9).astype(np.float32)
LOGITS[5:10] = np.round(LOGITS[5:10])  # with ties
LOGITS[10:15, 6:] = -np.inf  # with codes that do not exist


def reference(logits, temperature, k, p):
    """Probabilities after truncation of one row of logits, in float64, step by step."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    prob = scipy.special.softmax(np.asarray(logits, np.float64) / temperature)
    if k:
        order = order[:k]
    prob = prob / prob[order].sum()
    kept, total = [], 0.0
    for i in order:
        if total >= p and kept:
            break
        kept.append(i)
        total += prob[i]
    out = np.zeros(len(logits))
    out[kept] = prob[kept] / prob[kept].sum()
    return out


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("k", [0, 1, 4, 50])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.83, 1.0])
def test_truncation(temperature, k, p):
    got = scipy.special.softmax(np.asarray(truncate_logits(LOGITS, temperature, k, p)), axis=-1)
    want = np.stack([reference(row, temperature, k, p) for row in LOGITS])
    np.testing.assert_array_equal(got > 0, want > 0)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_options_can_be_traced():
    truncate = jax.jit(truncate_logits)
    for k, p in ((0, 0.5), (3, 1.0), (2, 0.9)):
        got = truncate(LOGITS, jnp.float32(0.7), jnp.int32(k), jnp.float32(p))
        np.testing.assert_allclose(got, truncate_logits(LOGITS, 0.7, k, p), rtol=1e-5)
    assert truncate._cache_size() == 1


@pytest.mark.parametrize("k", [0, 1, 4])
def test_temperature_zero_is_the_first_of_the_most_likely_alone(k):
    """Also of equal logits, and whatever their scale."""
    for logits in (LOGITS, 1e-6 * LOGITS, 1e6 * LOGITS, 0 * LOGITS[:5]):
        for temperature in (0.0, 1e-30):
            kept = np.isfinite(np.asarray(truncate_logits(logits, temperature, k)))
            assert kept[np.arange(len(logits)), logits.argmax(axis=1)].all()
            if temperature == 0:
                np.testing.assert_array_equal(kept.sum(axis=1), 1)


def test_a_small_temperature_has_the_probabilities_of_float64():
    """Two logits closer than the temperature, far below the others."""
    logits = np.float32([[-30.0, 5.0, 5.0 + 2**-20, 4.0]])
    got = scipy.special.softmax(np.asarray(truncate_logits(logits, 1e-6)), axis=-1)
    np.testing.assert_allclose(got[0], reference(logits[0], 1e-6, 0, 1.0), atol=1e-6)


@pytest.mark.parametrize("size", [10, 49, 512, 1024])
def test_top_p_of_equal_tokens_keeps_the_smallest_sufficient_number(size):
    """n of K tokens have a probability of n / K; a little more needs one more."""
    logits = np.full((1, size), 0.3, np.float32)
    count = jax.jit(lambda p: jnp.isfinite(truncate_logits(logits, 1.0, 0, p)).sum())
    for n in np.unique(np.linspace(1, size - 1, 20).round().astype(int)):
        assert count(np.float32(n / size)) == n
        assert count(np.float32((n + 0.1) / size)) == n + 1


def markov_chain(first, after):
    """A Markov chain as a network: log p(x_0) `[K]` and log p(x_t | x_(t−1)) `[K, K]`."""
    first, after = jnp.asarray(first), jnp.asarray(after)

    def step(params, cache, token, t):
        return jnp.where(t > 0, after[token], first[None]), cache

    return Autoregressive(None, None, lambda params, n: (), step)


def assert_frequencies(tokens, probabilities):
    """A χ² test of sequences `[N, T]` against the probability of each, p = 0.001."""
    n, sizes = len(tokens), probabilities.shape
    counts = np.bincount(
        np.ravel_multi_index(np.asarray(tokens).T, sizes), minlength=np.prod(sizes)
    )
    expected = n * probabilities.reshape(-1)
    assert counts[expected == 0].sum() == 0
    possible = expected > 0
    assert expected[possible].min() > 5
    chi2 = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi2 < scipy.stats.chi2.ppf(0.999, possible.sum() - 1)


@pytest.mark.parametrize(
    ("temperature", "k", "p"), [(1.0, 0, 1.0), (0.6, 0, 1.0), (1.0, 2, 1.0), (1.3, 0, 0.8)]
)
def test_frequencies_of_a_markov_chain(temperature, k, p):
    first, after = np.log([0.5, 0.3, 0.2]), np.log([[0.2, 0.7, 0.1], [0.4, 0.25, 0.35], [0.1] * 3])
    sample = jax.jit(sample_sequences, static_argnums=(0, 3, 4))
    settings = {"temperature": temperature, "top_k": k, "top_p": p}
    network = markov_chain(np.float32(first), np.float32(after))
    tokens = sample(network, {}, KEY, 20_000, 3, **settings)
    assert (tokens.shape, tokens.dtype) == ((20_000, 3), jnp.int32)
    start = reference(first, temperature, k, p)
    then = np.stack([reference(row, temperature, k, p) for row in after])
    assert_frequencies(tokens, np.einsum("a,ab,bc->abc", start, then, then))


@pytest.mark.parametrize("kind", ["transformer", pytest.param("pixel_cnn", marks=pytest.mark.slow)])
def test_frequencies_equal_the_networks_probabilities_for_each_condition(kind):
    layout = Layout((CodeMap((2, 2), (), 2),))
    network = build_autoregressive({"kind": kind, "layers": 2, "width": 8}, layout)
    every = jnp.asarray(list(itertools.product(range(2), repeat=4)), jnp.int32)
    label = jax.nn.one_hot(jnp.zeros(len(every), jnp.int32), 2)
    params = random_params(network.init, KEY, every, label)
    sample = jax.jit(sample_sequences, static_argnums=(0, 3, 4))
    for k in range(2):
        c = jax.nn.one_hot(jnp.full(len(every), k), 2)
        logits = np.asarray(jax.jit(network.apply)(params, every, c), np.float64)
        p = np.take_along_axis(scipy.special.softmax(logits, -1), np.asarray(every)[..., None], -1)
        p = p[..., 0].prod(axis=1).reshape((2,) * 4)
        condition = jnp.tile(c[:1], (5000, 1))
        tokens = sample(network, params, jax.random.key(k), 5000, 4, condition)
        assert_frequencies(tokens, p / p.sum())
