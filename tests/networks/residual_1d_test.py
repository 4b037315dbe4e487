"""The residual networks of signals and tokens: sizes, receptive field, and the 2-D networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import networks

KEY = jax.random.key(0)
SMALL = {"kind": "residual_1d", "hidden": 8, "blocks": 1, "block_hidden": 8}


def build(shape, features=6, out_channels=1, **options):
    return networks.build({**SMALL, **options}, shape, features, out_channels)


@functools.partial(jax.jit, static_argnums=0)
def outputs(pair, x):
    encoder, decoder = pair
    params = encoder.init(KEY, x)
    features = encoder.apply(params, x)
    other = decoder.init(KEY, features)
    return params, features, decoder.apply(other, features)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("length", "downsamplings", "inner"), [(64, 3, 8), (45, 2, 12), (7, 0, 7), (1, 2, 1), (9, 1, 5)]
)
def test_signals_can_have_any_length(length, downsamplings, inner, channels):
    pair = build((length, channels), 6, 2 * channels, downsamplings=downsamplings)
    x = jax.ShapeDtypeStruct((2, length, channels), jnp.float32)
    _, features, out = jax.eval_shape(lambda x: outputs(pair, x), x)
    assert features.shape == (2, inner, 6)
    assert out.shape == (2, length, 2 * channels)
    assert features.dtype == out.dtype == jnp.float32


@pytest.mark.parametrize("length", [64, 45])
def test_tokens_can_have_any_length(length):
    x = jax.ShapeDtypeStruct((2, length), jnp.int32)
    params, features, out = jax.eval_shape(lambda x: outputs(build((length,), 6, 30), x), x)
    assert params["embedding"].shape == (30, 32)
    assert features.shape == (2, -(-length // 4), 6)
    assert out.shape == (2, length, 30)
    pair = build((length,), 6, 30, tokens=40, embedding=5)
    assert jax.eval_shape(lambda x: outputs(pair, x), x)[0]["embedding"].shape == (40, 5)


@pytest.mark.parametrize("options", [{}, {"downsamplings": 0, "groups": 2}], ids=str)
def test_a_signal_equals_an_image_of_one_row(options):
    """The 1-D kernels are the rows of square kernels that overlap the image, the other rows are 0.

    Initial biases are zero, so the padding stays zero.
    """
    x = jax.random.normal(KEY, (2, 16, 1))
    flat = build((16, 1), 6, 1, **options)
    params, features, out = outputs(flat, x)
    deep = networks.build({**SMALL, "kind": "residual", **options}, (1, 16, 1), 6, 1)
    other = jax.eval_shape(lambda: deep[0].init(KEY, x[:, None]))

    def lift(small, large):
        """[k, C, O] -> [k, k, C, O], in the row that overlaps the only row of the image."""
        if small.ndim == 1:
            return small
        k = small.shape[0]
        total = max(k - 1, 0)  # the padding of an image of one row, at strides 1 and 2
        square = np.zeros(large.shape, np.float32)
        square[total // 2] = small
        return square

    lifted = jax.tree.map(lift, params, other)
    want = jax.jit(deep[0].apply)(lifted, x[:, None])
    np.testing.assert_allclose(features, want[:, 0], atol=1e-5)
    assert np.abs(features).max() > 0.01
    assert out.shape == x.shape


def test_a_token_affects_only_its_receptive_field():
    pair = build((64,), 6, 5, blocks=0)
    x = jax.random.randint(KEY, (1, 64), 0, 5)
    params = jax.jit(pair[0].init)(KEY, x)
    apply, other = jax.jit(pair[0].apply), np.array(x)
    other[0, 32] = (other[0, 32] + 1) % 5
    before, after = (np.asarray(apply(params, a)) for a in (x, other))
    changed = np.flatnonzero(np.abs(before - after).max(axis=(0, 2)) > 0)
    assert set(changed) <= set(
        range(6, 11)
    )  # kernels 4, 4 and 3: ten tokens on either side of position 8
    assert 8 in changed


def test_out_of_range_tokens_give_nan():
    encoder, _ = build((8,), 6, 5)
    params = jax.jit(encoder.init)(KEY, jnp.zeros((1, 8), jnp.int32))
    apply = jax.jit(encoder.apply)
    assert np.isnan(apply(params, np.full((1, 8), 5, np.int32))).any()
    assert np.isfinite(apply(params, np.full((1, 8), 4, np.int32))).all()


@pytest.mark.slow
def test_conditions_affect_encoder_and_decoder():
    (encoder, decoder), x = build((12, 1), 6, 1), jax.random.normal(KEY, (2, 12, 1))
    for c in (jnp.ones((2, 3)), jnp.ones((2, 12, 3)), jnp.ones((2, 4, 3))):
        twice = 2 * np.asarray(c)

        @jax.jit
        def run(c, twice):
            params = encoder.init(KEY, x, c)
            features = encoder.apply(params, x, c)
            other = decoder.init(KEY, features, c)
            return (
                (features, encoder.apply(params, x, twice)),
                (decoder.apply(other, features, c), decoder.apply(other, features, twice)),
            )

        (features, other_features), (out, other_out) = run(c, twice)
        assert features.shape == (2, 3, 6)
        assert not np.allclose(features, other_features)
        assert out.shape == (2, 12, 1)
        assert not np.allclose(out, other_out)


@pytest.mark.slow
def test_implementations_of_the_convolutions_agree():
    x = jax.random.normal(KEY, (2, 21, 2))
    results = [
        outputs(build((21, 2), implementation=implementation), x)[1:]
        for implementation in ("native", "product")
    ]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
