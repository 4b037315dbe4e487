"""Networks that read forwards: streams, causality, and the cells against Flax and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from vaejax.networks import build_recurrent

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (3, 11, 5))
NETWORKS = {
    "lstm": {"kind": "lstm", "size": 8},
    "gru": {"kind": "gru", "size": 8},
    "transformer": {"kind": "transformer", "size": 8, "heads": 2, "window": 4},
    "whole": {"kind": "transformer", "size": 8, "heads": 2, "window": 16},
}


def made(name):
    network = build_recurrent(NETWORKS[name])
    return network, network.init(KEY, X)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stream_gives_what_the_whole_sequence_gives(name):
    network, params = made(name)
    step, state, outs = jax.jit(network.step), network.start(params, len(X)), []
    for t in range(X.shape[1]):
        out, state = step(params, state, X[:, t])
        outs.append(out)
    whole = jax.jit(network.apply)(params, X)
    assert whole.dtype == jnp.float32
    np.testing.assert_allclose(np.stack(outs, axis=1), whole, atol=2e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_past_does_not_know_the_future(name):
    network, params = made(name)
    before = network.apply(params, X)
    after = network.apply(params, X.at[:, 6].add(1.0))
    np.testing.assert_array_equal(before[:, :6], after[:, :6])
    assert np.abs(before[:, 6:] - after[:, 6:]).max(axis=(0, 2)).min() > 1e-5


def test_a_window_forgets():
    network, params = made("transformer")  # 2 layers that see 4 places: 7 in all
    before, after = (network.apply(params, x) for x in (X, X.at[:, 0].add(1.0)))
    changed = np.abs(before - after).max(axis=(0, 2)) > 1e-6
    np.testing.assert_array_equal(changed, np.arange(11) < 7)


def test_lstm_against_flax():
    network, params = made("lstm")
    gates = ("i", "f", "g", "o")
    own, up, bias = (np.split(np.asarray(params[k]), 4, axis=-1) for k in ("own", "input", "bias"))
    flax = {f"i{g}": {"kernel": up[i]} for i, g in enumerate(gates)}
    flax |= {f"h{g}": {"kernel": own[i], "bias": bias[i]} for i, g in enumerate(gates)}
    want = linen.RNN(linen.OptimizedLSTMCell(8)).apply({"params": {"cell": flax}}, X)
    np.testing.assert_allclose(network.apply(params, X), want, atol=1e-6)


def test_gru_against_numpy():
    network, params = made("gru")
    own, up = (np.split(np.asarray(params[k], np.float64), 3, axis=1) for k in ("own", "input"))
    h, x = np.zeros((3, 8)), np.asarray(X, np.float64)

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    for t in range(X.shape[1]):
        r, u = (sigmoid(x[:, t] @ up[i] + h @ own[i]) for i in (0, 1))
        h = u * h + (1 - u) * np.tanh(x[:, t] @ up[2] + (r * h) @ own[2])
    np.testing.assert_allclose(network.apply(params, X)[:, -1], h, atol=1e-6)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"unknown recurrent network 'lsmt'.*'lstm'"):
        build_recurrent("lsmt")
    with pytest.raises(ValueError, match=r"size.*known"):
        build_recurrent({"kind": "gru", "sizes": 3})
    with pytest.raises(ValueError, match="even number"):
        build_recurrent({"kind": "transformer", "size": 10, "heads": 4})
    with pytest.raises(ValueError, match="at least 1 place, found 0"):
        build_recurrent({"kind": "transformer", "window": 0})
