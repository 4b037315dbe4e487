"""The image discriminator against a NumPy implementation, at even, odd and tiny sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.random_params import random_params
from vaejax.networks import Network, build_discriminator, image_discriminator

KEY = jax.random.key(0)


def convolve(x, kernel, bias):
    """'SAME' in TensorFlow's sense, stride 2, pixel by pixel."""
    n, h, w, _ = x.shape
    k = kernel.shape[0]
    height, width = -(-h // 2), -(-w // 2)
    pads = [max((out - 1) * 2 + k - size, 0) for out, size in ((height, h), (width, w))]
    x = np.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)])
    y = np.zeros((n, height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            window = x[:, 2 * i : 2 * i + k, 2 * j : 2 * j + k]
            y[:, i, j] = np.einsum("nabc,abco->no", window, kernel) + bias
    return y


def in_numpy(params, x, condition=None):
    """Logits, and the maps of both convolutions before their activation."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    x = 2.0 * np.asarray(x, np.float64) - 1.0
    if condition is not None:
        c = np.broadcast_to(condition[:, None, None], (*x.shape[:3], condition.shape[1]))
        x = np.concatenate([x, c], axis=-1)
    maps = []
    for i in range(2):
        maps.append(convolve(x, p[f"Conv_{i}"]["kernel"], p[f"Conv_{i}"]["bias"]))
        x = np.where(maps[-1] > 0, maps[-1], 0.2 * maps[-1])
    x = x.reshape(len(x), -1) @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"]
    x = np.where(x > 0, x, 0.2 * x)
    return (x @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"])[:, 0], maps


@pytest.mark.parametrize(
    ("shape", "kernel", "layer", "implementation"),
    [((8, 8, 1), 4, -1, "native"), ((7, 10, 3), 5, 0, "product"), ((1, 3, 2), 4, 1, "product")],
    ids=str,
)
def test_it_equals_a_numpy_implementation(shape, kernel, layer, implementation):
    x = jax.random.uniform(KEY, (3, *shape))
    discriminator = image_discriminator(
        channels=(3, 4), kernel=kernel, hidden=5, feature_layer=layer, implementation=implementation
    )
    params = random_params(discriminator.init, KEY, x, noise=0.3)
    logits, features = jax.jit(discriminator.apply)(params, x)
    want, maps = in_numpy(params, x)
    assert logits.dtype == features.dtype == jnp.float32
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features, maps[layer], rtol=1e-4, atol=1e-5)


def test_a_condition_is_concatenated_to_the_image():
    x, c = jax.random.uniform(KEY, (3, 6, 6, 1)), jax.random.normal(KEY, (3, 2))
    discriminator = image_discriminator(channels=(3, 4), hidden=5)
    params = random_params(discriminator.init, KEY, x, c, noise=0.3)
    want, _ = in_numpy(params, x, np.asarray(c, np.float64))
    apply = jax.jit(discriminator.apply)
    np.testing.assert_allclose(apply(params, x, c)[0], want, rtol=1e-4, atol=1e-5)
    assert not np.allclose(apply(params, x, c + 1)[0], want)


def test_with_group_norm_logits_do_not_depend_on_other_images_of_the_batch():
    x = jax.random.uniform(KEY, (4, 6, 6, 1))
    discriminator = image_discriminator(channels=(4, 8), hidden=5, groups=4, feature_layer=0)
    params = random_params(discriminator.init, KEY, x, noise=0.3)
    assert "GroupNorm_0" in params["Norm_0"]
    batched, features = jax.jit(discriminator.apply)(params, x)

    def per_image(image):
        return discriminator.apply(params, image[None])[0][0]

    single = jax.jit(lambda x: jax.lax.map(per_image, x))(x)
    np.testing.assert_allclose(batched, single, rtol=1e-5, atol=1e-6)
    # The features are taken before the norm.
    np.testing.assert_allclose(features, in_numpy(params, x)[1][0], rtol=1e-4, atol=1e-5)


def test_outputs_are_float32_when_computing_in_bfloat16():
    x = jax.random.uniform(KEY, (2, 8, 8, 1))
    exact, rough = (
        image_discriminator(channels=(4, 8), hidden=5, dtype=dtype)
        for dtype in ("float32", "bfloat16")
    )
    params = random_params(exact.init, KEY, x, noise=0.3)
    for a, b in zip(
        *(jax.jit(discriminator.apply)(params, x) for discriminator in (exact, rough)), strict=True
    ):
        assert b.dtype == jnp.float32
        assert not np.array_equal(a, b)
        np.testing.assert_allclose(a, b, atol=0.05 * float(jnp.abs(a).max()))


def test_invalid_arguments_are_reported():
    with pytest.raises(ValueError, match="2 convolutions, so no feature_layer 2"):
        image_discriminator(channels=(3, 4), feature_layer=2)
    with pytest.raises(ValueError, match=r"no setting 'channel'.*did you mean 'channels'"):
        build_discriminator({"channel": (3,)}, (8, 8, 1))
    with pytest.raises(ValueError, match=r"images of shape \(H, W, C\).*\(5,\).*Network"):
        build_discriminator({}, (5,))
    custom = Network(lambda key, x: {}, lambda params, x: (x.sum(axis=1), x))
    assert build_discriminator(custom, (5,)) is custom
