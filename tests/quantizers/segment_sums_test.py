"""Sums over the tokens of each code by both methods against a loop; gradients of lookups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vaejax.quantizers import segment_sums

BACKENDS = ("cpu", "gpu")  # whose method is traced; both run on CPU


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)
    return request.param


@pytest.mark.parametrize("block", [2**24, 64])
@pytest.mark.parametrize(("tokens", "books", "rest"), [(37, 1, (3,)), (50, 3, (2, 2)), (9, 2, ())])
def test_sums_equal_those_of_a_loop(tokens, books, rest, block, backend):
    """Exactly, for integers; blocks of 64 elements need several rounds, the last one padded."""
    rng = np.random.RandomState(0)
    values = rng.randint(-9, 10, (tokens, books, *rest)).astype(np.float32)
    indices = rng.randint(-1, 4, (tokens, books)).astype(np.int32)
    want = np.zeros((books, 5, *rest), np.float32)  # no token has code 4
    for token in range(tokens):
        for book in range(books):
            if indices[token, book] >= 0:
                want[book, indices[token, book]] += values[token, book]
    run = jax.jit(lambda v, i: segment_sums.code_sums(v, i, 5, max_elements=block))
    np.testing.assert_array_equal(run(values, indices), want)
    scatters = "scatter" in str(run.trace(values, indices).jaxpr)
    assert scatters == (backend == "cpu" or not rest)


def test_codes_have_the_gradient_of_a_lookup(backend):
    rng = np.random.RandomState(0)
    codebook, weights = rng.randn(6, 3), rng.randn(4, 5, 3)
    codebook, weights = jnp.asarray(codebook, jnp.float32), jnp.asarray(weights, jnp.float32)
    indices = jnp.asarray(rng.randint(0, 6, (4, 5)), jnp.int32)

    def value(codebook):
        return jnp.sum(weights * jnp.sin(segment_sums.codes_at(codebook, indices)))

    np.testing.assert_array_equal(segment_sums.codes_at(codebook, indices), codebook[indices])
    want = np.zeros((6, 3))
    np.add.at(want, np.asarray(indices), weights * np.cos(codebook[indices]))
    gradient = jax.jit(jax.grad(value))
    np.testing.assert_allclose(gradient(codebook), want, rtol=1e-5, atol=1e-6)
    assert ("scatter" in str(gradient.trace(codebook).jaxpr)) == (backend == "cpu")
    check_grads(value, (codebook,), order=2, modes=["rev"], rtol=2e-2, atol=2e-2)
