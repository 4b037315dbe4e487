"""All implementations equal XLA's convolution, in value and in every derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.networks.ops import conv2d
from vaejax.networks.ops.conv2d import conv, conv_transpose

APPLY = {"conv": conv, "conv_transpose": conv_transpose}

# Height, width, kernel, stride, channels in and out: every branch of the maps, odd sizes, single
# pixels, and layers of the models, narrowed.
SIZES = [
    (1, 1, (3, 3), 1, 6, 5),
    (1, 1, (4, 4), 2, 6, 5),
    (7, 7, (1, 1), 1, 6, 5),
    (7, 6, (1, 1), 2, 6, 5),
    (7, 6, (2, 2), 1, 6, 5),
    (7, 6, (2, 2), 2, 6, 5),
    (7, 7, (3, 3), 1, 6, 5),
    (7, 6, (3, 3), 1, 3, 9),
    (6, 7, (3, 3), 1, 6, 1),
    (7, 6, (3, 3), 2, 6, 5),
    (6, 7, (4, 4), 1, 6, 5),
    (7, 6, (4, 4), 2, 6, 5),
    (7, 7, (4, 4), 2, 1, 9),
    (8, 8, (4, 4), 2, 2, 17),
    (8, 8, (4, 4), 2, 9, 1),
    (7, 6, (5, 5), 1, 6, 5),
    (7, 6, (5, 5), 2, 6, 5),
    (5, 4, (3, 2), 1, 6, 5),
    (5, 4, (4, 2), 2, 6, 5),
    (5, 4, (3, 4), 2, 6, 5),
    (7, 5, (4, 4), 3, 6, 5),
    (28, 28, (4, 4), 2, 1, 8),
    # Enough channels for Winograd's filters, in one direction or both.
    (7, 6, (3, 3), 1, 34, 32),
    (7, 6, (2, 2), 1, 34, 32),
    (7, 9, (4, 4), 2, 31, 32),
    (8, 5, (6, 4), 2, 31, 32),
]


def _random_arrays(seed, *shapes, dtype=jnp.float32):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape), dtype) for shape in shapes]


def _output_of(name, height, width, stride):
    if name == "conv":
        return -(-height // stride), -(-width // stride)
    return stride * height, stride * width


def _value_and_pullback(apply, stride, implementation):
    def run(x, kernel, weights):
        def forward(x, kernel):
            return apply(x, kernel, stride, implementation=implementation)

        y, pullback = jax.vjp(forward, x, kernel)
        return y, *pullback(weights)

    return run


def _all_of(runs, *arrays):
    """Their results, from one program."""
    return jax.jit(lambda *arrays: [run(*arrays) for run in runs])(*arrays)


def _assert_close(actual, expected, tolerance=1e-5):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * (np.abs(e).max() + 1e-6))


@pytest.mark.parametrize("name", APPLY)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_implementations_equal_native_in_value_and_gradients(name, size):
    """Also: "blocks" contains convolutions only where expected, "patches" never."""
    height, width, kernel, stride, inputs, outputs = size
    output = _output_of(name, height, width, stride)
    arrays = _random_arrays(
        0, (2, height, width, inputs), (*kernel, inputs, outputs), (2, *output, outputs)
    )
    others = ("blocks", "patches") if (height, width) in ((7, 6), (8, 8), (7, 5)) else ()
    runs = {
        implementation: _value_and_pullback(APPLY[name], stride, implementation)
        for implementation in ("native", "product", *others)
    }
    native, *results = _all_of(runs.values(), *arrays)
    for result in results:
        _assert_close(result, native)
    large = inputs if name == "conv" else outputs
    strided = stride > 1 and kernel[0] % stride == kernel[1] % stride == 0
    blocks = strided or (stride == 1 and (kernel == (1, 1) or large <= 4))
    for implementation in others:
        products = implementation == "patches" or blocks
        program = str(jax.make_jaxpr(runs[implementation])(*arrays))
        assert ("conv_general" in program) == (not products)


@pytest.mark.parametrize("implementation", conv2d.IMPLEMENTATIONS)
def test_implementations_follow_tensorflow_and_lax(implementation):
    x, kernel = _random_arrays(1, (1, 5, 5, 1), (4, 4, 1, 1))
    # Windows cover eight pixels: one pixel of padding before the five, two after.
    padded = np.zeros((8, 8))
    padded[1:6, 1:6] = x[0, :, :, 0]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4))[::2, ::2]
    expected = np.einsum("ijkl,kl->ij", windows, kernel[:, :, 0, 0])
    np.testing.assert_allclose(
        conv(x, kernel, 2, implementation=implementation)[0, :, :, 0], expected, rtol=1e-4
    )
    expected = jax.lax.conv_transpose(
        x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(
        conv_transpose(x, kernel, 2, implementation=implementation), expected, atol=1e-5
    )


# A kernel for each computation (blocks, few channels, canonical, blocks and canonical, and two with
# Winograd's filters): size, stride, channels in and out.
KERNELS = {
    "4x4/2": (4, 2, 6, 5),
    "3x3 few": (3, 1, 2, 5),
    "3x3": (3, 1, 6, 5),
    "3x3/2": (3, 2, 6, 5),
    "4x4/2 many": (4, 2, 32, 31),
    "3x3 many": (3, 1, 31, 32),
}


def _arrays_of(case, *batch, dtype=jnp.float32):
    size, stride, inputs, outputs = KERNELS[case]
    kernel = (*batch, size, size, inputs, outputs)
    x, kernel = _random_arrays(2, (*batch, 2, 6, 6, inputs), kernel, dtype=dtype)
    return x, kernel, stride


@pytest.mark.parametrize("name", APPLY)
@pytest.mark.parametrize("case", KERNELS)
def test_in_scan_with_checkpoint(name, case):
    x, kernel, stride = _arrays_of(case)

    def train(implementation):
        def loss(kernel):
            forward = jax.checkpoint(
                lambda x, kernel: APPLY[name](x, kernel, stride, implementation=implementation)
            )
            return jnp.mean(jnp.sin(forward(x, kernel)))

        def step(kernel, _):
            value, gradient = jax.value_and_grad(loss)(kernel)
            return kernel - gradient, value

        return lambda kernel: jax.lax.scan(step, kernel, None, length=3)

    _assert_close(*_all_of((train("product"), train("native")), kernel))


@pytest.mark.parametrize("name", APPLY)
@pytest.mark.parametrize("case", KERNELS)
def test_under_vmap(name, case):
    xs, kernels, stride = _arrays_of(case, 3)

    def gradients(x, kernel):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(APPLY[name](x, kernel, stride, implementation="product")))

        return jax.grad(loss, argnums=(0, 1))(x, kernel)

    single = jax.jit(gradients)
    looped = [single(x, kernel) for x, kernel in zip(xs, kernels, strict=True)]
    expected = jax.tree.map(lambda *parts: np.stack(parts), *looped)
    _assert_close(jax.jit(jax.vmap(gradients))(xs, kernels), expected)


@pytest.mark.parametrize("name", APPLY)
@pytest.mark.parametrize("case", KERNELS)
def test_bfloat16(name, case):
    x, kernel, stride = _arrays_of(case, dtype=jnp.bfloat16)
    weights = jnp.ones((2, *_output_of(name, 6, 6, stride), kernel.shape[-1]), jnp.bfloat16)

    def wide(x, kernel, weights):
        wide = (a.astype(jnp.float32) for a in (x, kernel, weights))
        return _value_and_pullback(APPLY[name], stride, "native")(*wide)

    runs = _value_and_pullback(APPLY[name], stride, "product"), wide
    actual, expected = _all_of(runs, x, kernel, weights)
    assert {a.dtype for a in actual} == {jnp.dtype(jnp.bfloat16)}
    _assert_close([a.astype(jnp.float32) for a in actual], expected, tolerance=8e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", APPLY)
@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] * (c == "3x3 many")) for c in KERNELS]
)
def test_second_derivatives(name, case, dtype):
    x, kernel, stride = _arrays_of(case, dtype=dtype)

    def second(implementation):
        def loss(arguments):
            return jnp.sum(jnp.sin(APPLY[name](*arguments, stride, implementation=implementation)))

        def penalty(arguments):
            return sum(jnp.vdot(g, g) for g in jax.grad(loss)(arguments))

        def derivatives(*arguments):
            product = jax.jvp(jax.grad(loss), (arguments,), (arguments,))[1]
            return jax.grad(penalty)(arguments), product

        return derivatives

    implementations = ("product", "native") if dtype == jnp.float32 else ("product",)
    actual, *native = _all_of(
        [second(implementation) for implementation in implementations], x, kernel
    )
    for expected in native:
        _assert_close(actual, expected, tolerance=3e-5)
    assert all(a.dtype == dtype for a in jax.tree.leaves(actual))


def test_default_implementation_follows_the_backend(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert conv2d.default_implementation() == "product"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert conv2d.default_implementation() == "blocks"
    with conv2d.mapped_over_kernels():
        assert conv2d.default_implementation() == "patches"
    assert conv2d.default_implementation() == "blocks"


@pytest.mark.parametrize("name", APPLY)
@pytest.mark.parametrize("implementation", conv2d.IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("x", "kernel", "stride", "message"),
    [
        ((5, 5, 3), (3, 3, 3, 4), 1, r"expected x of shape \[B, H, W, C\], found \(5, 5, 3\)"),
        ((2, 5, 5, 3), (3, 3, 4), 1, r"expected a kernel \[kh, kw, C, O\], found \(3, 3, 4\)"),
        ((2, 5, 5, 3), (3, 3, 4, 3), 1, r"expected .* \[kh, kw, 3, O\] .* found \(3, 3, 4, 3\)"),
        ((2, 5, 5, 3), (3, 3, 3, 4), 0, "expected a positive stride, found 0"),
    ],
)
def test_invalid_arguments_are_reported(name, implementation, x, kernel, stride, message):
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        APPLY[name](jnp.zeros(x), jnp.zeros(kernel), stride, implementation=implementation)


@pytest.mark.parametrize("name", APPLY)
def test_invalid_dtypes_and_implementations_are_reported(name):
    x, kernel = jnp.zeros((2, 5, 5, 3)), jnp.zeros((3, 3, 3, 4))
    with pytest.raises(ValueError, match="unknown implementation 'fast'; known: native, product"):
        APPLY[name](x, kernel, 1, implementation="fast")
    with pytest.raises(ValueError, match="kernel of dtype float32, found bfloat16"):
        APPLY[name](x, kernel.astype(jnp.bfloat16), 1)
    with pytest.raises(ValueError, match="x of a floating dtype, found int32"):
        APPLY[name](x.astype(jnp.int32), kernel.astype(jnp.int32), 1)
