"""Codes without tokens are replaced by features of the batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.optimizers.codebook_updates import CODEBOOK, KEY, D, K, N, updater
from vaejax.core.game import Latent, Trace
from vaejax.distributions import OneHotCodes, Uniform
from vaejax.optimizers import ema_codebook
from vaejax.quantizers import bottleneck, grouped, vector
from vaejax.quantizers.nearest_neighbors import nearest

RNG = np.random.RandomState(1)


def test_dead_codes_are_replaced_by_features_and_their_counts_reset():
    tx = ema_codebook.ema_codebook(decay=0.5, epsilon=0.0, revive_below=0.3)
    codebook = jnp.asarray(CODEBOOK).at[-2:].set(100.0)  # far from all tokens
    update, state = updater(tx), tx.init({"codebook": codebook})
    plain = ema_codebook.ema_codebook(decay=0.5, epsilon=0.0)
    features = RNG.randn(N, D).astype(np.float32)
    indices = np.asarray(nearest(jnp.asarray(features), codebook))
    count = 0.5 + 0.5 * np.bincount(indices, minlength=K)
    dead = count < 0.3 * count.mean()
    assert dead[-2:].all()
    assert not dead.all()
    state, moved, _ = update(state, codebook, features)
    _, moved_plain, _ = updater(plain)(plain.init({"codebook": codebook}), codebook, features)
    moved = np.asarray(moved)
    distance = np.abs(moved[dead][:, None] - features[None]).max(-1).min(1)
    assert distance.max() < 1e-5, "a replacement is not a feature of the batch"
    assert len(np.unique(moved[dead], axis=0)) == dead.sum()
    np.testing.assert_allclose(moved[~dead], moved_plain[~dead], rtol=1e-6)
    np.testing.assert_allclose(state.count["codebook"][dead], count.mean(), rtol=1e-6)
    np.testing.assert_allclose(state.count["codebook"][~dead], count[~dead], rtol=1e-6)
    total = moved * np.asarray(state.count["codebook"])[:, None]
    np.testing.assert_allclose(state.total["codebook"], total, rtol=1e-5, atol=1e-5)


def test_replacements_depend_on_the_key():
    tx = ema_codebook.ema_codebook(decay=0.0, revive_below=0.5)
    codebook, features = jnp.full((K, D), 100.0), RNG.randn(N, D).astype(np.float32)
    codebook = codebook.at[0].set(0.0)
    update = updater(tx)
    replaced = [
        np.asarray(
            update(tx.init({"codebook": codebook}), codebook, features, jax.random.key(i))[1]
        )
        for i in range(2)
    ]
    assert not np.array_equal(*replaced)


def test_revival_after_an_optimizer_keeps_the_updates_of_used_codes():
    below = 0.3
    tx = optax.chain(optax.sgd(0.1), ema_codebook.revive_codes(below, decay=0.5))
    codebook = jnp.asarray(CODEBOOK).at[-2:].set(100.0)
    gradient, features = jnp.ones((K, D)), RNG.randn(N, D).astype(np.float32)
    count = 0.5 + 0.5 * np.bincount(nearest(jnp.asarray(features), codebook), minlength=K)
    dead = count < below * count.mean()
    state, moved, _ = updater(tx)(
        tx.init({"codebook": codebook}), codebook, features, KEY, gradient
    )
    np.testing.assert_allclose(moved[~dead], codebook[~dead] - np.float32(0.1), rtol=1e-6)
    distance = np.abs(np.asarray(moved)[dead][:, None] - features[None]).max(-1).min(1)
    assert dead[-2:].all()
    assert distance.max() < 1e-5
    want = np.where(dead, count.mean(), count)
    np.testing.assert_allclose(state[1].count["codebook"], want, rtol=1e-6)


def test_revival_of_a_stack_uses_features_of_the_same_codebook():
    tx = ema_codebook.ema_codebook(decay=0.0, epsilon=0.0, revive_below=0.3)
    b = bottleneck(grouped(vector(K, D), 2))
    features = RNG.randn(N, 1, 2 * D).astype(np.float32)
    # One code has all tokens, the others are dead.
    books = jnp.full((2, K, D), 100.0).at[:, 0].set(0.0)
    params = {"codebook": books}
    trace = Trace(None, None, (b.apply(params, jnp.asarray(features), KEY),))
    update = jax.jit(functools.partial(tx.update, params, tx.init(params), params, trace=trace))
    moved = np.asarray(books + update(key=KEY)[0]["codebook"])
    for g in range(2):
        pieces = features[:, 0, g * D : (g + 1) * D]
        distance = np.abs(moved[g, 1:, None] - pieces[None]).max(-1).min(1)
        assert distance.max() < 1e-4, "a replacement is not a token of its group"


def test_every_dead_code_gets_another_token_and_of_too_many_some_stay():
    """Codes at one token would be equal up to rounding, which then decides between them."""
    features = RNG.randn(5, D).astype(np.float32)
    indices = jnp.array([[0], [-1], [0], [0], [0]])  # one token has no code
    posterior = OneHotCodes(jnp.asarray(features)[:, None], jnp.zeros((5, 1, D)), indices, K)
    trace = Trace(None, None, (Latent(posterior, Uniform(K, (1,)), features[:, None]),))
    params = {"codebook": jnp.full((K, D), 100.0).at[0].set(0.0)}
    for tx in (
        ema_codebook.ema_codebook(decay=0.0, epsilon=0.0, revive_below=0.3),
        ema_codebook.revive_codes(0.3, decay=0.0),
    ):
        still = jax.tree.map(jnp.zeros_like, params)
        update = jax.jit(functools.partial(tx.update, still, tx.init(params), params, trace=trace))
        for seed in range(4):
            updates, state = update(key=jax.random.key(seed))
            moved = np.asarray(params["codebook"] + updates["codebook"])[1:]
            distance = np.abs(moved[:, None] - features[None]).max(-1)  # [K - 1, 5]
            tokens = distance.argmin(axis=1)[distance.min(axis=1) < 1e-4]
            assert sorted(tokens) == [0, 2, 3, 4]
            counts = np.asarray(state.count["codebook"])[1:]
            assert np.count_nonzero(counts) == 4  # the others stay dead


def test_every_token_is_as_likely_and_none_is_taken_twice():
    tokens, dead = 7, jnp.array([[False, True, True, False, True]])
    features, indices = jnp.arange(7.0)[:, None, None], jnp.zeros((tokens, 1), jnp.int32)

    def drawn(key):
        return ema_codebook._replacements(key, features, indices, dead)[1][0, :, 0]

    draws = np.asarray(jax.jit(jax.vmap(drawn))(jax.random.split(KEY, 3000)))[:, dead[0]]
    assert all(len(set(row)) == 3 for row in draws.tolist())
    share = np.bincount(draws.astype(int).reshape(-1), minlength=tokens) / len(draws)
    parts = np.array([1 / 3] * 3 + [1 / 2] * 4)  # of 7 tokens in parts of 3, 2 and 2
    np.testing.assert_allclose(share, parts, atol=0.04)  # four standard errors
