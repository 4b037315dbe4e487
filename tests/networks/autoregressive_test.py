"""Autoregressive networks: causality, normalisation, and cached steps."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from tests.random_params import random_params
from vaejax.core.token_layout import CodeMap, Layout
from vaejax.distributions import Categorical
from vaejax.networks import build_autoregressive
from vaejax.networks.attention import rotate

KEY = jax.random.key(0)
ONE_MAP = Layout((CodeMap((4, 5), (), 6),))
TWO_NODES = Layout((CodeMap((2, 2), (), 5), CodeMap((3,), (2,), 7)))
TRANSFORMER = {"kind": "transformer", "layers": 2, "width": 16, "heads": 2}
PIXEL_CNN = {"kind": "pixel_cnn", "layers": 3, "width": 8, "kernel": 3}
CASES = {
    "transformer": (TRANSFORMER, ONE_MAP),
    "transformer, two nodes": (TRANSFORMER, TWO_NODES),
    "pixel_cnn": (PIXEL_CNN, ONE_MAP),
}
every_case = pytest.mark.parametrize("name", CASES)


@functools.cache
def build(name, classes=3):
    """Network, layout, parameters, tokens and condition; the tests share what they compile."""
    setting, layout = CASES[name]
    network = build_autoregressive(setting, layout)
    size = min(node.size for node in layout.nodes)
    tokens = jnp.asarray(np.random.RandomState(2).randint(size, size=(3, layout.length)), jnp.int32)
    condition = (jax.nn.one_hot(jnp.array([0, 2, -1]), classes),) if classes else ()
    params = random_params(network.init, KEY, tokens, *condition, noise=0.3)
    return network, layout, params, tokens, condition


@every_case
def test_logits_depend_on_previous_tokens_only(name):
    network, layout, params, tokens, condition = build(name)
    apply = jax.jit(network.apply)
    before = np.asarray(apply(params, tokens, *condition))
    for t in range(layout.length):
        changed = np.array(tokens)
        changed[:, t:] = (changed[:, t:] + 1 + np.arange(layout.length - t)) % 5
        after = np.asarray(apply(params, changed, *condition))
        np.testing.assert_array_equal(after[:, : t + 1], before[:, : t + 1])
        if t + 1 < layout.length:
            assert np.any(after[:, t + 1 :] != before[:, t + 1 :])


@every_case
def test_the_last_logits_depend_on_every_previous_token(name):
    """No blind spot: three layers of 3 × 3 cover a 4 × 5 map except its far corners."""
    network, layout, params, tokens, condition = build(name)
    apply = jax.jit(network.apply)
    last = np.asarray(apply(params, tokens, *condition))[:, -1]
    matters = []
    for t in range(layout.length - 1):
        changed = np.array(tokens)
        changed[:, t] = (changed[:, t] + 1) % 5
        matters.append(np.any(np.asarray(apply(params, changed, *condition))[:, -1] != last))
    far = 0
    if name == "pixel_cnn":  # three rows up and three columns to the left at most
        far = sum(j < 5 - 1 - 3 for i in range(4) for j in range(5))
    assert sum(matters) >= len(matters) - far


@every_case
def test_cached_steps_equal_the_whole_sequence(name):
    network, layout, params, tokens, condition = build(name)
    want = np.asarray(jax.jit(network.apply)(params, tokens, *condition))
    cache = jax.jit(network.init_cache, static_argnums=1)(params, 3, *condition)
    step = jax.jit(network.step)
    for t in range(layout.length):
        got, cache = step(params, cache, np.asarray(tokens)[:, max(t - 1, 0)], np.int32(t))
        np.testing.assert_allclose(got, want[:, t], atol=1e-4)
    assert step._cache_size() == 1


@every_case
def test_nonexistent_codes_have_probability_zero(name):
    network, layout, params, tokens, condition = build(name)
    logits = np.asarray(jax.jit(network.apply)(params, tokens, *condition))
    sizes = [node.size for node in layout.nodes for _ in range(node.length)]
    for t, size in enumerate(sizes):
        assert np.isfinite(logits[:, t, :size]).all()
        assert (logits[:, t, size:] == -np.inf).all()


@pytest.mark.parametrize(
    ("setting", "layout"),
    [
        (TRANSFORMER, Layout((CodeMap((2, 2), (), 3),))),
        (TRANSFORMER, Layout((CodeMap((), (), 3), CodeMap((2,), (), 4)))),
        (PIXEL_CNN, Layout((CodeMap((2, 2), (), 3),))),
    ],
)
def test_the_probabilities_of_all_sequences_sum_to_one(setting, layout):
    network = build_autoregressive(setting, layout)
    sizes = [node.size for node in layout.nodes for _ in range(node.length)]
    every = jnp.asarray(list(itertools.product(*map(range, sizes))), jnp.int32)
    params = random_params(network.init, KEY, every, noise=0.3)
    logits = np.asarray(jax.jit(network.apply)(params, every), np.float64)
    log_p = scipy.special.log_softmax(logits, axis=-1)
    log_p = np.take_along_axis(log_p, np.asarray(every)[..., None], -1)[..., 0].sum(1)
    assert len(every) == np.prod(sizes)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1.0, rtol=1e-5)
    assert np.exp(log_p).max() > 2 / len(every)  # not the uniform distribution


@every_case
def test_the_condition_affects_every_position_and_its_absence_equals_no_condition(name):
    network, _, params, tokens, _ = build(name)
    conditions = [jax.nn.one_hot(jnp.full(3, k), 3) for k in (0, 1, -1)]
    apply = jax.jit(network.apply)
    first, second, absent = (np.asarray(apply(params, tokens, c)) for c in conditions)
    assert (first != second).any(axis=(0, 2)).all()
    assert (first != absent).any(axis=(0, 2)).all()
    if name != "pixel_cnn":  # whose condition has layers of its own
        np.testing.assert_array_equal(absent, apply(params, tokens))


def numpy_transformer(p, tokens, heads):
    """Pre-norm blocks with explicit attention, in float64."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), p)

    def norm(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale

    def gelu(x):  # its tanh form
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    def rotated(x):  # [T, d]
        half = x.shape[1] // 2
        angle = np.arange(len(x))[:, None] * 10_000.0 ** (-np.arange(half) / half)
        z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angle)
        return np.concatenate([z.real, z.imag], axis=1)

    x = np.stack([p["start"], *p["tokens"][tokens[:-1]]]) + p["kinds"][0]
    size = x.shape[1] // heads
    layers = p["layers"]
    for i in range(len(layers["qkv"])):
        h = norm(x, layers["norm_attention"][i]) @ layers["qkv"][i]
        q, k, v = np.split(h, 3, axis=1)
        out = np.zeros_like(x)
        for head in range(heads):
            part = np.s_[:, head * size : (head + 1) * size]
            score = rotated(q[part]) @ rotated(k[part]).T / np.sqrt(size)
            score[np.triu_indices(len(x), 1)] = -np.inf
            out[part] = scipy.special.softmax(score, axis=1) @ v[part]
        x = x + out @ layers["out"][i]
        x = x + gelu(norm(x, layers["norm_mlp"][i]) @ layers["up"][i]) @ layers["down"][i]
    return norm(x, p["norm"]) @ p["logits"][0].T


def test_the_transformer_equals_a_numpy_implementation():
    network, _, params, tokens, _ = build("transformer", classes=0)
    got = jax.jit(network.apply)(params, tokens)
    for sequence, logits in zip(np.asarray(tokens), np.asarray(got), strict=True):
        np.testing.assert_allclose(logits, numpy_transformer(params, sequence, 2), atol=1e-4)


@every_case
def test_gradients_are_finite_and_reach_every_parameter(name):
    """Also where codes are excluded by logits of −∞."""
    network, _, params, tokens, condition = build(name)

    @jax.jit
    @jax.grad
    def gradient(params):
        return -Categorical(network.apply(params, tokens, *condition)).log_prob(tokens).sum()

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf), path


@every_case
def test_logits_and_parameters_are_float32_when_computing_in_bfloat16(name):
    network, layout, params, tokens, condition = build(name)
    half = build_autoregressive({**CASES[name][0], "dtype": "bfloat16"}, layout)
    initial = jax.eval_shape(half.init, KEY, tokens, *condition)
    assert {a.dtype for a in jax.tree.leaves(initial)} == {jnp.dtype(jnp.float32)}
    got, want = (jax.jit(n.apply)(params, tokens, *condition) for n in (half, network))
    assert got.dtype == jnp.float32
    finite = np.isfinite(np.asarray(want))
    gap = np.asarray(got)[finite] - np.asarray(want)[finite]
    assert 0 < np.sqrt(np.square(gap).mean()) < 0.05 * np.asarray(want)[finite].std()


def test_rotary_scores_depend_on_the_distance_only():
    q, k = (jax.random.normal(jax.random.key(i), (1, 1, 1, 8)) for i in (1, 2))
    q, k = jnp.tile(q, (1, 1, 9, 1)), jnp.tile(k, (1, 1, 9, 1))
    positions = jnp.arange(9)
    score = rotate(q, positions) @ rotate(k, positions).swapaxes(2, 3)
    score = np.asarray(score)[0, 0]
    for distance in range(-8, 9):
        assert np.ptp(np.diagonal(score, distance)) < 1e-5
    assert np.ptp(score[0]) > 0.1


def test_initial_residual_updates_do_not_grow_with_depth():
    """Output weights are scaled by 1/√(2 · layers): 32 layers add as much variance as 2."""
    sizes = []
    for layers in (2, 32):
        net = build_autoregressive({**TRANSFORMER, "layers": layers, "width": 64}, ONE_MAP)
        params = jax.jit(net.init)(KEY, jnp.zeros((1, 20), jnp.int32))["layers"]
        written = np.square(params["out"]).sum() + np.square(params["down"]).sum()
        sizes.append(float(written))
    assert 0.8 < sizes[1] / sizes[0] < 1.25


@pytest.mark.parametrize(
    ("setting", "layout", "message"),
    [
        ({**TRANSFORMER, "heads": 3}, ONE_MAP, "width=16 cannot have heads=3"),
        ({**TRANSFORMER, "heads": 16}, ONE_MAP, "even number"),
        ({**PIXEL_CNN, "kernel": 4}, ONE_MAP, "odd kernel .* found kernel=4"),
        (PIXEL_CNN, TWO_NODES, r"\[\(2, 2\), \(3, 2\)\].*'transformer'"),
        (PIXEL_CNN, Layout((CodeMap((2, 2), (3,), 4),)), r"\(2, 2, 3\).*'transformer'"),
        ("pixel_cn", ONE_MAP, "unknown network of a prior over codes .* did you mean 'pixel_cnn'"),
    ],
)
def test_invalid_settings_are_reported(setting, layout, message):
    with pytest.raises(ValueError, match=message):
        build_autoregressive(setting, layout)
