"""The codec of signals: layers against NumPy in float64, chunks against the whole, causality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import networks
from vaejax.networks.codec import Codec
from vaejax.networks.signal_convolutions import Conv, TransposedConv
from vaejax.networks.signal_layers import Activation, Lstm

KEY = jax.random.key(0)
RNG = np.random.RandomState(0)


def params_of(layer):
    """Random parameters of unit gain; α of snake, which divides, is between ½ and 1½."""

    def leaf(path, s):
        if "alpha" in jax.tree_util.keystr(path):
            return RNG.uniform(0.5, 1.5, s.shape)
        return RNG.randn(*s.shape) / np.sqrt(np.prod(s.shape[:-1]) or 1.0)

    return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(layer.init, KEY))


def correlate(x, kernel, bias, stride, dilation, before, after, mode):
    x = np.pad(x, ((0, 0), (before, after), (0, 0)), mode=mode)
    span = (len(kernel) - 1) * dilation + 1
    starts = range(0, x.shape[1] - span + 1, stride)
    taps = [np.einsum("bkc,kco->bo", x[:, s : s + span : dilation], kernel) for s in starts]
    return np.stack(taps, axis=1) + bias


@pytest.mark.parametrize("implementation", ["product", "native"])
@pytest.mark.parametrize(
    ("length", "taps", "stride", "dilation", "causal", "mode", "pads"),
    [
        (12, 7, 1, 1, True, "constant", (6, 0)),
        (12, 3, 1, 4, True, "reflect", (8, 0)),
        (12, 7, 1, 1, False, "reflect", (3, 3)),
        (12, 4, 2, 1, True, "constant", (2, 0)),
        (13, 10, 5, 1, False, "reflect", (3, 4)),  # two samples more fill the last step
        (13, 6, 3, 1, True, "constant", (3, 2)),
        (12, 1, 1, 1, False, "constant", (0, 0)),
        (12, 5, 3, 2, False, "constant", (3, 3)),
    ],
)
def test_convolutions_equal_numpy(
    length, taps, stride, dilation, causal, mode, pads, implementation, monkeypatch
):
    where = "vaejax.networks.signal_convolutions.default_implementation"
    monkeypatch.setattr(where, lambda: implementation)
    layer = Conv(2, 3, taps, stride, dilation, causal, mode)
    params, x = params_of(layer), RNG.randn(2, length, 2)
    got, _ = layer.apply(params, x.astype(np.float32))
    want = correlate(x, params["kernel"], params["bias"], stride, dilation, *pads, mode)
    assert got.shape == (2, -(-length // stride), 3)
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize(
    ("stride", "causal", "symmetric", "cut"),
    [(2, True, False, (0, 2)), (3, False, False, (2, 1)), (3, False, True, (2, 2)),
     (4, False, True, (2, 2))],
)  # fmt: skip
def test_transposed_convolutions_equal_numpy(stride, causal, symmetric, cut):
    layer = TransposedConv(2, 3, stride, causal, symmetric)
    params, x = params_of(layer), RNG.randn(2, 5, 2)
    want = np.zeros((2, 6 * stride, 3))
    for i in range(5):
        for k in range(2 * stride):
            want[:, i * stride + k] += x[:, i] @ params["kernel"][k]
    want = want[:, cut[0] : 6 * stride - cut[1]] + params["bias"]
    got, _ = layer.apply(params, x.astype(np.float32))
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_lstm_and_snake_equal_numpy():
    lstm = Lstm(3, 2)
    params, x = params_of(lstm), RNG.randn(2, 4, 3)
    y = x
    for p in params.values():
        h, c, out = np.zeros((2, 3)), np.zeros((2, 3)), []
        for t in range(4):
            i, f, g, o = np.split(y[:, t] @ p["input"] + h @ p["recurrent"] + p["bias"], 4, axis=-1)
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
            c = f * c + i * np.tanh(g)
            h = o * np.tanh(c)
            out.append(h)
        y = np.stack(out, axis=1)
    np.testing.assert_allclose(lstm.apply(params, x.astype(np.float32))[0], x + y, atol=1e-5)
    alpha = np.array([0.5, 1.0, 3.0])
    got, _ = Activation("snake", 3).apply({"alpha": jnp.asarray(alpha)}, jnp.asarray(x))
    np.testing.assert_allclose(got, x + np.sin(alpha * x) ** 2 / alpha, atol=1e-5)


SMALL = {"filters": 2, "ratios": (3,), "causal": True, "kernel": 3}
STREAMED = [
    {"lstm": 1, "last_kernels": (3, 3), "padding": "reflect"},
    {"activation": "snake", "shortcut": False, "compress": 1, "tanh": True, "blocks": 2},
]


@pytest.mark.parametrize("options", STREAMED, ids=["elu", "snake"])
def test_chunks_equal_the_whole(options):
    codec = Codec(4, 2, **SMALL, **options)
    x = jnp.asarray(RNG.randn(2, 45, 1), jnp.float32)
    params = params_of(codec.encoder(1)), params_of(codec.decoder(4))

    @jax.jit
    def whole(params, x):
        features, _ = codec.encoder(1).apply(params[0], x)
        return features, codec.decoder(4).apply(params[1], features)[0]

    @jax.jit
    def chunk(params, x, states):
        features, inner = codec.encode_chunk(params[0], x, states[0])
        sound, outer = codec.decode_chunk(params[1], features, states[1])
        return (features, sound), (inner, outer)

    states, parts = (None, None), []
    for part in jnp.split(x, 3, axis=1):
        out, states = chunk(params, part, states)
        parts.append(out)
    assert codec.first_chunk == (9 if "padding" in options else 3)
    for got, want in zip(zip(*parts, strict=True), whole(params, x), strict=True):
        np.testing.assert_allclose(jnp.concatenate(got, axis=1), want, atol=1e-5)
        assert want.shape[1] in (15, 45)
        assert np.std(want) > 0.1


def test_a_causal_codec_depends_on_no_later_sample():
    x = RNG.randn(1, 36, 1).astype(np.float32)
    changed = x.copy()
    changed[:, 18:] += 1.0
    for causal, same in ((True, True), (False, False)):
        codec = Codec(4, 1, **{**SMALL, "causal": causal})
        params = params_of(codec.encoder(1))
        apply = jax.jit(lambda p, v, c=codec: c.encoder(1).apply(p, v)[0])
        a, b = (apply(params, v)[:, :6] for v in (x, changed))
        assert np.allclose(a, b, atol=1e-6) == same


def test_what_cannot_be_streamed_is_refused_in_one_line():
    x, codec = jnp.zeros((1, 7, 1)), Codec(4, 1, **SMALL)
    with pytest.raises(ValueError, match=r"multiple of 3 samples.*found 7"):
        codec.encode_chunk({}, x)
    with pytest.raises(ValueError, match="only a causal codec"):
        Codec(4, 1, filters=3, ratios=(3,)).encode_chunk({}, x[:, :6])
    reflecting = Codec(4, 1, **SMALL, padding="reflect")
    with pytest.raises(ValueError, match=r"first of a signal at least 21; found 3"):
        reflecting.decode_chunk({}, jnp.zeros((1, 1, 4)))


def test_signals_of_any_length_and_unknown_options():
    encoder, decoder = networks.build({"kind": "codec", **SMALL}, (40, 2), 5, 2)

    def run():
        x = jnp.zeros((3, 40, 2))
        z = encoder.apply(encoder.init(KEY, x), x)
        return z, decoder.apply(decoder.init(KEY, z), z)

    z, y = jax.eval_shape(run)
    assert z.shape == (3, 14, 5)
    assert y.shape == (3, 40, 2)
    for option in ({"activation": "snak"}, {"padding": "zeros"}, {"norm": "weight"}):
        with pytest.raises(ValueError, match="unknown"):
            networks.build({"kind": "codec", **option}, (40, 2), 5, 2)
