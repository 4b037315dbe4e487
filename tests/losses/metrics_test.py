"""Metrics of a trace against brute force in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core.game import Latent, Trace
from vaejax.distributions import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    Masked,
    Normal,
    OneHotCodes,
    Uniform,
)
from vaejax.losses import metrics
from vaejax.losses.metrics import UsedCodes

RNG = np.random.RandomState(0)
code_counts, perplexity, trace_metrics = map(
    jax.jit, (metrics.code_counts, metrics.perplexity, metrics.trace_metrics)
)


def codes_node(indices, size):
    zeros = jnp.zeros((*indices.shape, 2))
    indices = jnp.asarray(indices, jnp.int32)
    return Latent(OneHotCodes(zeros, zeros, indices, size), Uniform(size, indices.shape), zeros)


def gaussian_node():
    unit = Normal(jnp.zeros((6, 2)), jnp.ones((6, 2)))
    return Latent(unit, unit, unit.loc)


def trace_of(*nodes, likelihood=None, x=None):
    x = jnp.zeros((6, 4)) if x is None else x
    return Trace(x, likelihood or Bernoulli(jnp.zeros((6, 4))), nodes)


@pytest.mark.parametrize("masked", [False, True])
def test_counts_equal_a_loop_over_the_unmasked_tokens(masked):
    maps, vectors = RNG.randint(0, 5, (6, 3, 2)), RNG.randint(0, 9, 6)
    mask = np.array([True, True, False, True, False, True]) if masked else np.ones(6, bool)
    want_maps, want_vectors = np.zeros(7), np.zeros(9)
    for i in range(6):
        if mask[i]:
            want_vectors[vectors[i]] += 1
            for code in maps[i].ravel():
                want_maps[code] += 1
    trace = trace_of(codes_node(maps, 7), gaussian_node(), codes_node(vectors, 9))
    got = code_counts(trace, jnp.asarray(mask) if masked else None)
    assert set(got) == {0, 2}
    np.testing.assert_array_equal(got[0], want_maps[None])
    np.testing.assert_array_equal(got[2], want_vectors[None])


def test_perplexity_is_the_effective_number_of_codes():
    np.testing.assert_allclose(perplexity(jnp.full((1, 8), 3.0)), 8.0, rtol=1e-6)
    np.testing.assert_allclose(perplexity(jnp.array([[0.0, 7.0, 0.0]])), 1.0, rtol=1e-6)
    np.testing.assert_allclose(perplexity(jnp.array([[4.0, 0.0, 4.0, 0.0]])), 2.0, rtol=1e-6)
    counts = RNG.randint(1, 50, 20).astype(np.float64)
    p = counts / counts.sum()
    want = np.prod(p**-p)
    np.testing.assert_allclose(perplexity(jnp.asarray(counts[None], jnp.float32)), want, rtol=1e-5)
    # The mean over several indices per token.
    counts = jnp.array([[4.0, 0.0, 4.0, 0.0], [3.0, 3.0, 3.0, 3.0]])
    np.testing.assert_allclose(perplexity(counts), 3.0, rtol=1e-6)


def test_counts_of_several_indices_per_token_and_of_dropped_ones():
    indices = np.array([[[0, 2], [1, 2]], [[0, 1], [1, -1]]])  # 2 examples, 2 tokens, 2 levels
    features = jnp.zeros((2, 2, 2, 3))
    q = OneHotCodes(features, features, jnp.asarray(indices, jnp.int32), 3)
    node = Latent(q, Uniform(3, (2, 2, 2)), jnp.zeros((2, 2, 3)))
    np.testing.assert_array_equal(code_counts(trace_of(node))[0], [[2, 2, 0], [0, 1, 2]])
    mask = jnp.array([False, True])
    np.testing.assert_array_equal(code_counts(trace_of(node), mask)[0], [[1, 1, 0], [0, 1, 0]])


def test_elbo_is_minus_nll_minus_kl_whatever_other_losses_there_are():
    nll, kl = RNG.rand(6).astype(np.float32), RNG.rand(6, 3).astype(np.float32)
    losses = {"nll": jnp.asarray(nll), "kl": jnp.asarray(kl), "other": jnp.float32(5.0)}
    got = trace_metrics(losses, trace_of(gaussian_node()))
    np.testing.assert_allclose(got["elbo"], -nll - kl.sum(1), rtol=1e-6)
    np.testing.assert_allclose(got["kl"], kl.sum(1), rtol=1e-6)
    for i in range(3):
        np.testing.assert_array_equal(got[f"kl/{i}"], kl[:, i])
    np.testing.assert_array_equal(got["nll"], nll)
    assert got["other"] == 5.0
    assert "bits_per_dim" not in got
    assert "perplexity" not in got
    assert "elbo" not in trace_metrics({"nll": losses["nll"]}, trace_of(gaussian_node()))


def test_tokens_have_an_accuracy_and_bits():
    """Seven classes, six examples of four tokens, some of them predicted correctly."""
    logits = RNG.standard_normal((6, 4, 7)).astype(np.float32)
    x = RNG.randint(7, size=(6, 4)).astype(np.int32)
    x[:3, 1:] = logits.argmax(axis=-1)[:3, 1:]
    x[0, 0] = (logits[0, 0].argmax() + 1) % 7
    nll, kl = RNG.rand(6).astype(np.float32), RNG.rand(6, 1).astype(np.float32)
    losses = {"nll": jnp.asarray(nll), "kl": jnp.asarray(kl)}
    likelihood = Categorical(jnp.asarray(logits))
    got = trace_metrics(losses, trace_of(gaussian_node(), likelihood=likelihood, x=jnp.asarray(x)))
    want = [sum(max(range(7), key=lambda k: logits[i, t, k]) == x[i, t] for t in range(4)) / 4
            for i in range(6)]  # fmt: skip
    np.testing.assert_allclose(got["accuracy"], want)
    assert 0.75 == got["accuracy"][0] < 1
    np.testing.assert_allclose(got["bits_per_dim"], (nll + kl[:, 0]) / 4 / np.log(2), rtol=1e-6)
    assert "mse" not in got


def test_bits_per_dim_of_a_uniform_model_of_bytes_is_eight():
    """bits_per_dim by hand, and its value at the nll of a uniform distribution over 256 values."""
    x = jnp.asarray(RNG.randint(1, 255, (6, 5, 5, 3)) / 255, jnp.float32)
    p = DiscretizedLogistic(jnp.full(x.shape, 0.5), jnp.full(x.shape, 0.5))
    nll = -p.log_prob(x).sum(axis=(1, 2, 3))
    kl = jnp.full((6, 1), 30.0)
    got = trace_metrics({"nll": nll, "kl": kl}, trace_of(gaussian_node(), likelihood=p, x=x))
    want = (np.asarray(nll, np.float64) + 30.0) / (5 * 5 * 3) / np.log(2)
    np.testing.assert_allclose(got["bits_per_dim"], want, rtol=1e-6)
    uniform = trace_metrics(
        {"nll": jnp.full(6, 75 * np.log(256)), "kl": jnp.zeros((6, 1))},
        trace_of(gaussian_node(), likelihood=p, x=x),
    )
    np.testing.assert_allclose(uniform["bits_per_dim"], 8.0, rtol=1e-6)


def test_mse_is_a_mean_over_dimensions():
    x, loc = RNG.rand(6, 4, 2).astype(np.float32), RNG.rand(6, 4, 2).astype(np.float32)
    p = Normal(jnp.asarray(loc), jnp.ones(loc.shape))
    got = trace_metrics({}, trace_of(likelihood=p, x=jnp.asarray(x)))["mse"]
    np.testing.assert_allclose(got, ((x - loc) ** 2).mean((1, 2)), rtol=1e-6)


def test_perplexity_is_numbered_by_node_in_models_of_several_nodes():
    uniform, constant = codes_node(np.arange(6), 8), codes_node(np.zeros(6), 8)
    np.testing.assert_allclose(trace_metrics({}, trace_of(uniform))["perplexity"], 6.0, rtol=1e-6)
    got = trace_metrics({}, trace_of(uniform, gaussian_node(), constant))
    assert "perplexity" not in got
    np.testing.assert_allclose(got["perplexity/0"], 6.0, rtol=1e-6)
    np.testing.assert_allclose(got["perplexity/2"], 1.0, rtol=1e-6)


def huge_codebook():
    """Tokens of two levels, some of them dropped, in the largest codebook: codes, and a trace."""
    size = 2**31 - 1
    codes = RNG.randint(size - 9, size, (6, 4, 2))
    codes[1, :2] = -1
    return codes, trace_of(codes_node(codes, size)._replace(z=jnp.zeros((6, 4, 1))))


def test_only_the_codes_that_occur_are_counted_in_a_large_codebook():
    codes, trace = huge_codebook()
    mask = np.array([True, True, False, True, True, False])
    got = code_counts(trace, jnp.asarray(mask))[0]
    want = []
    for level in range(2):
        kept = codes[mask][..., level].ravel()
        used, counts = np.unique(kept[kept >= 0], return_counts=True)
        present = np.asarray(got.counts[level]) > 0
        np.testing.assert_array_equal(got.codes[level][present], used)
        np.testing.assert_array_equal(got.counts[level][present], counts)
        p = counts / counts.sum()
        want.append(np.prod(p**-p))
    np.testing.assert_allclose(perplexity(got), np.mean(want), rtol=1e-5)


def test_counts_of_batches_are_merged_to_those_of_the_split():
    codes, trace = huge_codebook()
    first = jnp.arange(6) < 2
    parts = [code_counts(trace, mask)[0] for mask in (first, ~first)]
    parts = [UsedCodes(*(np.asarray(a, np.float64) for a in part)) for part in parts]
    merged = parts[0].merge(parts[1])
    for level in range(2):
        kept = codes[..., level].ravel()
        used, counts = np.unique(kept[kept >= 0], return_counts=True)
        present = merged.counts[level] > 0
        np.testing.assert_array_equal(merged.codes[level][present], used)
        np.testing.assert_array_equal(merged.counts[level][present], counts)
    assert merged.counts.shape[1] <= 9
    nothing = UsedCodes(np.zeros((2, 3)), np.zeros((2, 3)), np.float64(9))
    assert not nothing.merge(nothing).counts.any()


def test_the_metrics_of_an_implicit_codebook_do_not_allocate_it():
    """2³⁰ codes of a lookup-free quantizer would be 4 GiB of counts."""
    codes = jax.ShapeDtypeStruct((32, 16), jnp.int32)

    def metrics(indices):
        trace = trace_of(codes_node(indices, 2**30), likelihood=Bernoulli(jnp.zeros((32, 4))),
                         x=jnp.zeros((32, 4)))  # fmt: skip
        return trace_metrics({}, trace)["perplexity"]

    compiled = jax.jit(metrics).lower(codes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**20


def test_means_over_dimensions_of_masked_events_are_over_the_explained_part():
    x, loc = RNG.rand(6, 4, 3).astype(np.float32), RNG.rand(6, 4, 3).astype(np.float32)
    mask = RNG.rand(6, 4, 1).round()
    mask[0], mask[1] = 0.0, 1.0  # nothing and everything to be explained
    base = DiscretizedLogistic(jnp.asarray(loc), jnp.full(loc.shape, 1e-3))
    p = Masked(base, jnp.asarray(mask), jnp.asarray(x))
    losses = {"nll": jnp.ones(6), "kl": jnp.ones((6, 1))}
    got = trace_metrics(losses, trace_of(gaussian_node(), likelihood=p, x=jnp.asarray(x)))
    modelled = np.broadcast_to(mask, x.shape) > 0
    for i in range(1, 6):
        if modelled[i].any():
            want = np.square(x - loc)[i][modelled[i]].mean()
            np.testing.assert_allclose(got["mse"][i], want, rtol=1e-4)
            bits = 2 / modelled[i].sum() / np.log(2)
            np.testing.assert_allclose(got["bits_per_dim"][i], bits, rtol=1e-6)
    assert got["mse"][0] == 0


def test_the_accuracy_of_masked_tokens_is_of_the_explained_ones():
    logits = RNG.standard_normal((6, 4, 7)).astype(np.float32)
    x = RNG.randint(7, size=(6, 4)).astype(np.int32)
    mask = np.float32([[1, 1, 0, 0]] * 6)
    x[:3, 0] = logits.argmax(axis=-1)[:3, 0]
    p = Masked(Categorical(jnp.asarray(logits)), jnp.asarray(mask), jnp.asarray(x))
    got = trace_metrics({}, trace_of(likelihood=p, x=jnp.asarray(x)))["accuracy"]
    want = (logits.argmax(axis=-1) == x)[:, :2].mean(axis=1)
    np.testing.assert_allclose(got, want)
    np.testing.assert_array_equal(p.indices[:, 2:], x[:, 2:])
