"""The autoencoder of latent diffusion: blocks against NumPy in float64, options, sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import networks
from vaejax.networks.latent_diffusion_blocks import (
    Attention,
    Downsample,
    GroupNorm,
    ResidualBlock,
    Upsample,
    self_attention,
)

KEY = jax.random.key(0)
RNG = np.random.RandomState(0)
X = RNG.randn(2, 6, 4, 8) + 3.0


def random_like(shapes):
    """Parameters in float64, far enough from their initial values to matter."""
    return jax.tree.map(lambda s: 0.4 * RNG.randn(*s.shape), shapes)


def group_norm(x, p, groups):
    y = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    y = (y - y.mean((1, 3), keepdims=True)) / np.sqrt(y.var((1, 3), keepdims=True) + 1e-6)
    return y.reshape(x.shape) * p["scale"] + p["bias"]


def correlate(x, p, stride=1, pads=((1, 1), (1, 1))):
    kernel = p["kernel"]
    size = kernel.shape[0]
    x = np.pad(x, ((0, 0), *(pads if size > 1 else ((0, 0), (0, 0))), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows[:, ::stride, ::stride], kernel) + p["bias"]


def silu(x):
    return x / (1 + np.exp(-x))


def residual_block(x, p, groups):
    h = correlate(silu(group_norm(x, p["norm1"], groups)), p["conv1"])
    h = correlate(silu(group_norm(h, p["norm2"], groups)), p["conv2"])
    return (correlate(x, p["shortcut"]) if "shortcut" in p else x) + h


def attention(x, p, groups):
    y = group_norm(x, p["norm"], groups).reshape(len(x), -1, x.shape[-1])
    q, k, v = (y @ p[n]["kernel"] + p[n]["bias"] for n in ("query", "key", "value"))
    scores = np.einsum("bnc,bmc->bnm", q, k) / np.sqrt(x.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    y = np.einsum("bnm,bmc->bnc", weights / weights.sum(-1, keepdims=True), v)
    return x + (y @ p["out"]["kernel"] + p["out"]["bias"]).reshape(x.shape)


def upsampled(x, p):
    return correlate(x.repeat(2, 1).repeat(2, 2), p["conv"])


@pytest.mark.parametrize(
    ("module", "reference"),
    [
        (ResidualBlock(8, groups=4), lambda x, p: residual_block(x, p, 4)),
        (ResidualBlock(12, groups=32), lambda x, p: residual_block_of_12(x, p)),
        (Attention(groups=2), lambda x, p: attention(x, p, 2)),
        (Downsample(), lambda x, p: correlate(x, p["conv"], 2, ((0, 1), (0, 1)))),
        (Upsample(), upsampled),
    ],
    ids=["block", "shortcut", "attention", "downsample", "upsample"],
)
def test_blocks_equal_numpy_in_float64(module, reference):
    shapes = jax.eval_shape(lambda: module.init(KEY, X.astype(np.float32)))["params"]
    params = random_like(shapes)
    got = jax.jit(module.apply)({"params": params}, X.astype(np.float32))
    want = reference(X, params)
    assert np.abs(got - want).max() < 2e-5 * np.abs(want).max()


def residual_block_of_12(x, p):
    """32 groups at most: 8 for 8 channels, 4 for 12."""
    h = correlate(silu(group_norm(x, p["norm1"], 8)), p["conv1"])
    h = correlate(silu(group_norm(h, p["norm2"], 4)), p["conv2"])
    return correlate(x, p["shortcut"]) + h


def test_group_norm_is_exact_far_from_zero():
    x = 1e4 + X
    got = GroupNorm(4).apply({"params": {"scale": np.ones(8), "bias": np.zeros(8)}}, x)
    want = group_norm(x.astype(np.float32).astype(float), {"scale": 1, "bias": 0}, 4)
    assert np.abs(got - want).max() < 2e-3  # rounding of the mean in float32


def test_attention_in_blocks_of_queries_equals_attention_at_once(monkeypatch):
    q, k, v = (jnp.asarray(RNG.randn(2, 11, 3), jnp.float32) for _ in range(3))
    want = self_attention(q, k, v)
    monkeypatch.setattr("vaejax.networks.latent_diffusion_blocks._QUERIES", 4)
    np.testing.assert_allclose(self_attention(q, k, v), want, atol=1e-6)


def build(**options):
    setting = {"kind": "latent_diffusion", "channels": (8, 16), "blocks": 1, **options}
    return networks.build(setting, (8, 12, 3), 6, 3)


def shapes_of(pair, size=(8, 12)):
    def run():
        x = jnp.zeros((2, *size, 3))
        params = pair[0].init(KEY, x)
        z = pair[0].apply(params, x)
        other = pair[1].init(KEY, z[..., :3])
        return params, other, z, pair[1].apply(other, z[..., :3])

    return jax.eval_shape(run)


def test_sizes_levels_and_layers():
    pair = build()
    encoder, decoder, z, out = shapes_of(pair)
    assert z.shape == (2, 4, 6, 6)
    assert out.shape == (2, 8, 12, 3)
    assert shapes_of(pair, (16, 4))[3].shape == (2, 16, 4, 3)
    assert encoder["projection"]["kernel"].shape == (1, 1, 6, 6)
    assert decoder["projection"]["kernel"].shape == (1, 1, 3, 3)
    assert sum(name.startswith("down") for name in encoder) == 3
    assert sum(name.startswith("up") for name in decoder) == 5  # a block more in every level
    plain = shapes_of(build(quant_conv=False, post_quant_conv=False, attention=False))
    assert set(encoder) - set(plain[0]) == {"projection", "mid_attention"}
    assert set(decoder) - set(plain[1]) == {"projection", "mid_attention"}
    narrow = shapes_of(build(latent_channels=5, attention_levels=(1,)))
    assert narrow[0]["projection"]["kernel"].shape == (1, 1, 5, 6)
    assert narrow[1]["projection"]["kernel"].shape == (1, 1, 3, 5)
    assert {"down_1_attention_0"} == {name for name in narrow[0] if "_attention_0" in name}
    with pytest.raises(ValueError, match="must be multiples of 2, found 7×12"):
        networks.build({"kind": "latent_diffusion", "channels": (8, 8)}, (7, 12, 3), 6, 3)
    with pytest.raises(ValueError, match="must be multiples of 2, found 8×9"):
        shapes_of(pair, (8, 9))


def test_recomputation_is_an_option_that_changes_no_parameter():
    x = jnp.zeros((1, 8, 12, 3))
    pairs = [build(remat=remat) for remat in (False, True)]
    plain, again = (jax.eval_shape(encoder.init, KEY, x) for encoder, _ in pairs)
    assert jax.tree.structure(plain) == jax.tree.structure(again)
    for (encoder, _), recomputes in zip(pairs, (False, True), strict=True):
        loss = jax.grad(lambda p, e=encoder: jnp.sum(e.apply(p, x)))
        text = str(jax.make_jaxpr(loss)(plain))
        assert ("remat" in text or "checkpoint" in text) == recomputes


def test_attention_has_gradients_in_bfloat16():
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (jax.random.normal(key, (1, 6, 4)) for key in keys)

    def total(q, k, v):
        return self_attention(q, k, v).astype(jnp.float32).sum()

    want = jax.grad(total, argnums=(0, 1, 2))(q, k, v)
    half = (a.astype(jnp.bfloat16) for a in (q, k, v))
    for a, b in zip(jax.grad(total, argnums=(0, 1, 2))(*half), want, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.03)
