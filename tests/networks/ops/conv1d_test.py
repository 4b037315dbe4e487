"""Convolutions of signals by matrix products equal XLA's, in value and in every derivative."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.networks.ops.conv1d import conv_1d, conv_transpose_1d
from vaejax.networks.ops.conv2d import IMPLEMENTATIONS

APPLY = {"conv_1d": conv_1d, "conv_transpose_1d": conv_transpose_1d}
LENGTHS = [1, 7, 8]
WINDOWS = [(1, 1), (2, 1), (3, 1), (1, 2), (3, 2), (4, 2), (5, 2), (1, 3), (4, 3), (7, 4)]


def random_arrays(seed, *shapes, dtype=jnp.float32):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape), dtype) for shape in shapes]


def assert_close(actual, expected, tolerance=1e-5):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * (np.abs(e).max() + 1e-6))


@pytest.mark.parametrize("name", APPLY)
@pytest.mark.parametrize(("taps", "stride"), WINDOWS)
def test_product_equals_native_in_value_and_gradients(name, taps, stride):
    for length in LENGTHS:
        out = -(-length // stride) if name == "conv_1d" else stride * length
        x, kernel, g = random_arrays(length, (2, length, 3), (taps, 3, 4), (2, out, 4))

        @jax.jit
        def both(x, kernel, g):
            results = []
            for implementation in ("product", "native"):
                apply = functools.partial(APPLY[name], stride=stride, implementation=implementation)
                y, pull = jax.vjp(apply, x, kernel)
                results.append((y, *pull(g)))
            return results

        assert_close(*both(x, kernel, g))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_implementations_follow_the_definition(implementation):
    """Seven samples, a window of 4 at stride 2: one sample of padding before, two after."""
    x, kernel = random_arrays(0, (1, 7, 1), (4, 1, 1))
    padded = np.zeros(10)
    padded[1:8] = x[0, :, 0]
    windows = np.lib.stride_tricks.sliding_window_view(padded, 4)[::2]
    got = conv_1d(x, kernel, 2, implementation=implementation)
    np.testing.assert_allclose(got[0, :, 0], windows @ kernel[:, 0, 0], rtol=1e-5, atol=1e-6)
    spread = np.zeros(14 + 4)
    for j in range(
        7
    ):  # sample j affects the outputs 2 j − 1 to 2 j + 2, through the reversed kernel
        spread[2 * j + 1 : 2 * j + 5] += np.asarray(x[0, j, 0]) * np.asarray(kernel[::-1, 0, 0])
    got = conv_transpose_1d(x, kernel, 2, implementation=implementation)
    np.testing.assert_allclose(got[0, :, 0], spread[2:16], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", APPLY)
def test_in_a_scan_under_vmap_and_twice_differentiated(name):
    x, kernel = random_arrays(1, (3, 2, 9, 3), (3, 4, 3, 3))

    def train(implementation):
        def loss(kernel, x):
            return jnp.mean(jnp.sin(APPLY[name](x, kernel, 2, implementation=implementation)))

        def norm(kernel, x):
            return jnp.sum(jnp.square(jax.grad(loss)(kernel, x)))

        def step(kernel, _):
            value, gradient = jax.vmap(jax.value_and_grad(norm))(kernel, x)
            return kernel + gradient, value

        return jax.jit(lambda kernel: jax.lax.scan(step, kernel, None, length=3))(kernel)

    assert_close(train("product"), train("native"))


@pytest.mark.parametrize("name", APPLY)
def test_bfloat16(name):
    x, kernel = random_arrays(2, (2, 9, 3), (4, 3, 5), dtype=jnp.bfloat16)
    got = APPLY[name](x, kernel, 2, implementation="product")
    assert got.dtype == jnp.bfloat16
    want = APPLY[name](
        x.astype(jnp.float32), kernel.astype(jnp.float32), 2, implementation="native"
    )
    assert_close(got.astype(jnp.float32), want, tolerance=8e-3)


@pytest.mark.parametrize("name", APPLY)
@pytest.mark.parametrize(
    ("x", "kernel", "stride", "message"),
    [
        ((5, 3), (3, 3, 4), 1, r"expected x of shape \[B, T, C\], found \(5, 3\)"),
        ((2, 5, 3), (3, 4), 1, r"expected a kernel of shape \[k, 3, O\] .* found \(3, 4\)"),
        ((2, 5, 3), (3, 4, 3), 1, r"expected a kernel of shape \[k, 3, O\] .* found \(3, 4, 3\)"),
        ((2, 5, 3), (3, 3, 4), 0, "expected a positive stride, found 0"),
    ],
)
def test_invalid_arguments_are_reported(name, x, kernel, stride, message):
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        APPLY[name](jnp.zeros(x), jnp.zeros(kernel), stride)


@pytest.mark.parametrize("name", APPLY)
def test_invalid_dtypes_and_implementations_are_reported(name):
    x, kernel = jnp.zeros((2, 5, 3)), jnp.zeros((3, 3, 4))
    with pytest.raises(ValueError, match="unknown implementation 'fast'; known: native, product"):
        APPLY[name](x, kernel, 1, implementation="fast")
    with pytest.raises(ValueError, match="kernel of dtype float32, found bfloat16"):
        APPLY[name](x, kernel.astype(jnp.bfloat16), 1)
    with pytest.raises(ValueError, match="x of a floating dtype, found int32"):
        APPLY[name](x.astype(jnp.int32), kernel.astype(jnp.int32), 1)
