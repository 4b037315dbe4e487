"""Recurrent networks: streams, causality, and the cells against Flax and NumPy."""

import functools

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
    "full attention": {"kind": "transformer", "size": 8, "heads": 2, "window": 16},
}


@functools.cache
def build(name):
    network = build_recurrent(NETWORKS[name])
    network = network._replace(apply=jax.jit(network.apply), step=jax.jit(network.step))
    return network, jax.jit(network.init)(KEY, X)


def shifted(t):
    """The inputs with those of one time changed."""
    x = np.array(X)
    x[:, t] += 1.0
    return x


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stream_equals_the_whole_sequence(name):
    network, params = build(name)
    state, outs = jax.jit(network.initial_state, static_argnums=1)(params, len(X)), []
    for t in range(X.shape[1]):
        out, state = network.step(params, state, np.asarray(X)[:, t])
        outs.append(out)
    expected = network.apply(params, X)
    assert expected.dtype == jnp.float32
    np.testing.assert_allclose(np.stack(outs, axis=1), expected, atol=2e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_do_not_depend_on_later_inputs(name):
    network, params = build(name)
    before = np.asarray(network.apply(params, X))
    after = np.asarray(network.apply(params, shifted(6)))
    np.testing.assert_array_equal(before[:, :6], after[:, :6])
    assert np.abs(before[:, 6:] - after[:, 6:]).max(axis=(0, 2)).min() > 1e-5


def test_outputs_do_not_depend_on_inputs_before_the_window():
    network, params = build("transformer")  # 2 layers with windows of 4 positions: 7 in all
    before, after = (np.asarray(network.apply(params, x)) for x in (X, shifted(0)))
    changed = np.abs(before - after).max(axis=(0, 2)) > 1e-6
    np.testing.assert_array_equal(changed, np.arange(11) < 7)


def test_lstm_against_flax():
    network, params = build("lstm")
    gates = ("i", "f", "g", "o")
    names = ("recurrent", "input", "bias")
    recurrent, up, bias = (np.split(np.asarray(params[k]), 4, axis=-1) for k in names)
    flax = {f"i{g}": {"kernel": up[i]} for i, g in enumerate(gates)}
    flax |= {f"h{g}": {"kernel": recurrent[i], "bias": bias[i]} for i, g in enumerate(gates)}
    want = linen.RNN(linen.OptimizedLSTMCell(8)).apply({"params": {"cell": flax}}, X)
    np.testing.assert_allclose(network.apply(params, X), want, atol=1e-6)


def test_gru_against_numpy():
    network, params = build("gru")
    names = ("recurrent", "input")
    recurrent, up = (np.split(np.asarray(params[k], np.float64), 3, axis=1) for k in names)
    h, x = np.zeros((3, 8)), np.asarray(X, np.float64)

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    for t in range(X.shape[1]):
        r, u = (sigmoid(x[:, t] @ up[i] + h @ recurrent[i]) for i in (0, 1))
        h = u * h + (1 - u) * np.tanh(x[:, t] @ up[2] + (r * h) @ recurrent[2])
    np.testing.assert_allclose(network.apply(params, X)[:, -1], h, atol=1e-6)


def test_invalid_settings_are_reported():
    with pytest.raises(ValueError, match=r"unknown recurrent network 'lsmt'.*'lstm'"):
        build_recurrent("lsmt")
    with pytest.raises(ValueError, match=r"size.*known"):
        build_recurrent({"kind": "gru", "sizes": 3})
    with pytest.raises(ValueError, match="even number"):
        build_recurrent({"kind": "transformer", "size": 10, "heads": 4})
    with pytest.raises(ValueError, match="at least 1, found 0"):
        build_recurrent({"kind": "transformer", "window": 0})


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_missing_inputs_leave_the_state_as_it_is(kind):
    network = build_recurrent({"kind": kind, "size": 4})
    x = jax.random.normal(jax.random.key(0), (2, 6, 3))
    mask = jnp.array([[1, 0, 1, 1, 0, 1], [1, 1, 0, 0, 1, 1]], bool)
    params = network.init(jax.random.key(1), x)
    got = network.apply(params, x, mask)
    for row in range(2):
        present = np.flatnonzero(mask[row])
        want = network.apply(params, x[row : row + 1, present])[0]
        np.testing.assert_allclose(got[row, present], want, rtol=1e-6, atol=1e-7)
        for t in np.flatnonzero(~np.asarray(mask[row])):
            np.testing.assert_array_equal(got[row, t], got[row, t - 1])
