"""The codebook as an optimizer against the paper's moving averages in NumPy's float64.

VQ-VAE (1711.00937, appendix A.1): N ← γN + (1 − γ)n, m ← γm + (1 − γ)Σz, e = m / N, with Laplace
smoothing of N.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.optimizers.codebook_updates import CODEBOOK, KEY, D, K, N, trace_of, updater
from vaejax import losses
from vaejax.core import game
from vaejax.core.game import Latent, Player, Trace
from vaejax.distributions import Normal, OneHotCodes, Uniform
from vaejax.optimizers import ema_codebook
from vaejax.quantizers import bottleneck, grouped, residual, vector
from vaejax.quantizers.nearest_neighbors import nearest

RNG = np.random.RandomState(1)


class Reference:
    """The recursion of the paper, one token at a time."""

    def __init__(self, decay, epsilon):
        self.decay, self.epsilon = decay, epsilon
        self.codebook = CODEBOOK.astype(np.float64)
        self.count, self.total = np.ones(K), self.codebook.copy()

    def update(self, features):
        n, sums = np.zeros(K), np.zeros((K, D))
        for z in features.reshape(-1, D).astype(np.float64):
            i = ((self.codebook - z) ** 2).sum(1).argmin()
            n[i] += 1
            sums[i] += z
        self.count = self.decay * self.count + (1 - self.decay) * n
        self.total = self.decay * self.total + (1 - self.decay) * sums
        smooth = (self.count + self.epsilon) / (self.count.sum() + K * self.epsilon)
        self.codebook = self.total / (smooth * self.count.sum())[:, None]


@pytest.mark.parametrize(("decay", "epsilon"), [(0.99, 1e-5), (0.7, 1e-2)])
def test_fifty_steps_follow_the_papers_recursion(decay, epsilon):
    tx = ema_codebook.ema_codebook(decay, epsilon)
    update, reference = updater(tx), Reference(decay, epsilon)
    codebook = jnp.asarray(CODEBOOK)
    state, rng = tx.init({"codebook": codebook}), np.random.RandomState(1)
    for _ in range(50):
        features = (rng.randn(4, N // 4, D) + 0.5).astype(np.float32)
        state, codebook, _ = update(state, codebook, features)
        reference.update(features)
    np.testing.assert_allclose(codebook, reference.codebook, atol=1e-5)
    np.testing.assert_allclose(state.count["codebook"], reference.count, rtol=1e-5)
    assert np.abs(reference.codebook - CODEBOOK).max() > 0.1


def test_codes_are_looked_up_before_their_update():
    """With decay 0 the chosen code moves to its tokens, and the trace has its former value."""
    tx = ema_codebook.ema_codebook(decay=0.0, epsilon=0.0)
    codebook = jnp.asarray(CODEBOOK)
    features = np.repeat(CODEBOOK[:1] + 0.01, N, axis=0)
    state, moved, trace = updater(tx)(tx.init({"codebook": codebook}), codebook, features)
    q = trace.latents[0].posterior
    np.testing.assert_array_equal(q.indices, np.zeros(N))
    np.testing.assert_array_equal(q.codes, np.repeat(CODEBOOK[:1], N, axis=0))
    np.testing.assert_allclose(moved[0], features[0], rtol=1e-5)
    assert state.count["codebook"][0] == N


def test_an_unused_code_drifts_to_zero_as_the_pseudo_count_outweighs_its_own():
    """Without smoothing it stays; with it e ← e · c / (c + ε) of its count c = γᵗ."""
    codebook = jnp.concatenate([jnp.asarray(CODEBOOK[:-1]), jnp.full((1, D), 100.0)])
    for epsilon in (0.0, 1e-5):
        tx = ema_codebook.ema_codebook(decay=0.5, epsilon=epsilon)
        update, state, moved = updater(tx), tx.init({"codebook": codebook}), codebook
        for _ in range(17):
            state, moved, _ = update(state, moved, RNG.randn(N, D).astype(np.float32))
        count = 0.5**17
        n = N + (K - N) * count  # the total count approaches the number of tokens
        want = 100.0 * count / (count + epsilon) * (1 + K * epsilon / n)
        np.testing.assert_allclose(moved[-1], np.full(D, want), rtol=1e-5)


def test_an_unused_code_is_hardly_moved_by_a_few_steps():
    tx = ema_codebook.ema_codebook(decay=0.9, epsilon=1e-5)
    codebook = jnp.concatenate([jnp.asarray(CODEBOOK[:-1]), jnp.full((1, D), 100.0)])
    update, state = updater(tx), tx.init({"codebook": codebook})
    for _ in range(10):
        state, codebook, _ = update(state, codebook, RNG.randn(N, D).astype(np.float32))
    np.testing.assert_allclose(codebook[-1], np.full(D, 100.0), rtol=1e-4)


def test_the_sums_of_tokens_follow_from_the_gradient_and_the_counts():
    """Σ z over a code's tokens = count · e − ½ · n · g, with g the gradient of mean ‖z − e‖²."""
    features = jnp.asarray(RNG.randn(N, 1, D), jnp.float32)  # one token per example

    def loss(codebook):
        values = losses.vq().apply({}, {}, trace_of(features, codebook), KEY)
        return game.objective({"vq": 1.0}, values, jnp.int32(0))

    codebook = jnp.asarray(CODEBOOK)
    gradient = np.asarray(jax.jit(jax.grad(loss))(codebook), np.float64)
    indices = np.asarray(nearest(features.reshape(N, D), codebook))
    counts = np.bincount(indices, minlength=K)
    sums = np.stack([np.asarray(features)[indices == k, 0].sum(0) for k in range(K)])
    np.testing.assert_allclose(counts[:, None] * CODEBOOK - 0.5 * N * gradient, sums, atol=1e-5)


@pytest.mark.parametrize(
    "tx", [ema_codebook.ema_codebook(), ema_codebook.revive_codes(0.1)], ids=["ema", "revive"]
)
def test_a_node_without_codes_is_refused(tx):
    unit = Normal(jnp.zeros((4, D)), jnp.ones((4, D)))
    trace = Trace(jnp.zeros((4, 1)), None, (Latent(unit, unit, unit.loc),))
    params = {"codebook": jnp.asarray(CODEBOOK)}
    with pytest.raises(ValueError, match="node 0 of the trace has a posterior Normal"):
        tx.update(params, tx.init(params), params, trace=trace, key=KEY)


def test_the_node_can_be_chosen_and_the_game_passes_the_trace():
    features = jnp.asarray(RNG.randn(2, N, D), jnp.float32)
    indices = jnp.zeros((N,), jnp.int32)
    nodes = [
        Latent(OneHotCodes(f, jnp.zeros_like(f), indices, K), Uniform(K, (N,)), f) for f in features
    ]
    trace = Trace(jnp.zeros((N, 1)), None, tuple(nodes))
    params = {"codebook": jnp.asarray(CODEBOOK)}
    for node in range(2):
        tx = ema_codebook.ema_codebook(decay=0.0, epsilon=0.0, node=node)
        optimizer = game.optimizer({"codebook": Player(("codebook",), {"vq": 1.0}, tx)})
        update = functools.partial(optimizer.update, params, optimizer.init(params), params)
        updates, _ = update(trace=trace, key=KEY)
        got = CODEBOOK[0] + updates["codebook"][0]
        np.testing.assert_allclose(got, features[node].mean(0), atol=1e-5)


STACKS = {
    "residual": (residual(vector(K, D), 3), (3,), 1),
    "residual, shared": (residual(vector(K, D), 3, shared=True), (), 1),
    "grouped": (grouped(vector(K, D), 2), (2,), 2),
    "residual grouped": (residual(grouped(vector(K, D), 2), 3), (3, 2), 2),
    "with dropout": (residual(vector(K, D), 3, dropout=0.7), (3,), 1),
}


@pytest.mark.parametrize("name", STACKS)
def test_fifty_steps_of_a_stack_follow_the_recursion_in_each_codebook(name):
    quantizer, stack, pieces = STACKS[name]
    decay, epsilon, random = 0.9, 1e-5, np.random.RandomState(1)
    books = random.randn(*stack, K, D).astype(np.float32)
    tx = ema_codebook.ema_codebook(decay, epsilon)
    b = bottleneck(quantizer)
    variant = b.training_variant(jnp.int32(0)) if b.training_variant else b

    @jax.jit
    def update(state, codebook, features, key):
        trace = Trace(None, None, (variant.apply({"codebook": codebook}, features, key),))
        params = {"codebook": codebook}
        updates, state = tx.update(params, state, params, trace=trace, key=key)
        return state, codebook + updates["codebook"], trace

    state, codebook = tx.init({"codebook": jnp.asarray(books)}), jnp.asarray(books)
    total, count = books.astype(np.float64).copy(), np.ones((*stack, K))
    for step in range(50):
        features = random.randn(N, 2, pieces * D).astype(np.float32)
        state, codebook, trace = update(
            state, codebook, jnp.asarray(features), jax.random.fold_in(KEY, step)
        )
        q = trace.latents[0].posterior
        tokens = np.asarray(q.features, np.float64).reshape(-1, *stack, D)
        chosen = np.asarray(q.indices).reshape(-1, *stack)
        n, m = np.zeros_like(count), np.zeros_like(total)
        for token, index in zip(tokens, chosen, strict=True):
            for book in np.ndindex(*stack):
                if index[book] >= 0:
                    n[(*book, index[book])] += 1
                    m[(*book, index[book])] += token[book]
        count, total = (decay * a + (1 - decay) * b for a, b in ((count, n), (total, m)))
        all_codes = count.sum(-1, keepdims=True)
        smoothed = (count + epsilon) / (all_codes + K * epsilon) * all_codes
        want = total / smoothed[..., None]
    assert codebook.shape == books.shape
    np.testing.assert_allclose(codebook, want, atol=1e-5)
    assert np.abs(codebook - books).max() > 0.1
    if name == "with dropout":
        assert (chosen < 0).any()


def test_a_codebook_of_another_stack_is_refused():
    tx = ema_codebook.ema_codebook()
    params = {"codebook": jnp.asarray(np.stack([CODEBOOK] * 2))}
    trace = trace_of(RNG.randn(N, D), CODEBOOK)
    with pytest.raises(ValueError, match=r"needs features \[\.\.\., 2, 3\], but node 0 has"):
        tx.update(params, tx.init(params), params, trace=trace, key=KEY)
    basis = {"codebook": {"codes": jnp.asarray(CODEBOOK), "basis": jnp.ones((D, D))}}
    with pytest.raises(ValueError, match=r"has 12 codes, .* shape \(3, 3\).*learn by gradient"):
        tx.update(basis, tx.init(basis), basis, trace=trace, key=KEY)
