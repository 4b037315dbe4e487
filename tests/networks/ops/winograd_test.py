"""Winograd's filters equal the definition of a filter, and take fewer products."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.collectives import collectives_of
from vaejax.core.sharding import batch_sharding, make_mesh, replicated
from vaejax.core.tensor_axis import using_mesh
from vaejax.networks.ops import winograd
from vaejax.networks.ops.conv2d_matmul import correlate, gather
from vaejax.networks.ops.geometry import Geometry

CASES = list(itertools.product(winograd.TAPS, winograd.TAPS, ((2, 4), (5, 3), (1, 6))))


def _integers(seed, *shapes):
    # Without rounding errors: sums of integers and of their halves are exact in float32.
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.integers(-8, 9, shape), jnp.float32) for shape in shapes]


def _definition(x, kernel, size):
    (h, w), (p, q) = size, kernel.shape[:2]
    taps = itertools.product(range(p), range(q))
    return sum(x[:, i : i + h, j : j + w] @ kernel[i, j] for i, j in taps)


@pytest.mark.parametrize(("p", "q", "size"), CASES)
def test_all_three_maps_equal_the_definition(p, q, size):
    input_size = winograd.input_size(size, (p, q))
    x, kernel, y = _integers(0, (3, *input_size, 5), (p, q, 5, 4), (3, *size, 4))

    @jax.jit
    def both(x, kernel, y):
        expected, transpose = jax.vjp(lambda x, kernel: _definition(x, kernel, size), x, kernel)
        actual = (
            winograd.gather(x, kernel, size, None),
            winograd.scatter(y, kernel, None),
            winograd.correlate(x, y, (p, q), 3, None).sum(axis=0),
        )
        return actual, (expected, *transpose(y))

    for actual, expected in zip(*both(x, kernel, y), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("taps", winograd.TAPS)
@pytest.mark.parametrize("mesh_shape", [(4, 2, 1), (4, 1, 2)])
def test_the_gradient_of_a_kernel_is_summed_over_the_devices_once(taps, mesh_shape):
    """And not the products that it is made of, of which there are about twice as many."""
    geometry = Geometry((6, 6), (6, 6), (taps, taps), 1)
    arrays = _integers(1, (8, 6, 6, 32), (8, 6, 6, 32))
    mesh = make_mesh(*mesh_shape)

    def gradient(x, y):
        with using_mesh(mesh):
            return correlate(x, y, geometry, None)

    at = batch_sharding(mesh)
    compiled = jax.jit(gradient, in_shardings=(at, at), out_shardings=replicated(mesh))
    compiled = compiled.lower(*arrays).compile()
    found = collectives_of(compiled.as_text(), mesh.size)
    assert [(c.kind, c.size) for c in found] == [("all-reduce", 4 * taps * taps * 32 * 32)]
    actual = compiled(*(jax.device_put(a, at) for a in arrays))
    np.testing.assert_array_equal(actual, correlate(*arrays, geometry, None))


def _products(fn, *shapes):
    jaxpr = jax.make_jaxpr(fn)(*(jnp.zeros(shape) for shape in shapes))
    return sum(eqn.primitive.name == "dot_general" for eqn in jaxpr.eqns)


@pytest.mark.parametrize(("taps", "products"), [(2, 9), (3, 16)])
def test_number_of_products(taps, products):
    size, pair = (6, 6), (taps, taps)
    x, kernel, y = (1, *winograd.input_size(size, pair), 3), (*pair, 3, 2), (1, *size, 2)
    assert _products(lambda x, k: winograd.gather(x, k, size, None), x, kernel) == products
    assert _products(lambda y, k: winograd.scatter(y, k, None), y, kernel) == products
    assert _products(lambda x, y: winograd.correlate(x, y, pair, 1, None), x, y) == products


@pytest.mark.parametrize("taps", winograd.TAPS)
def test_rounding_errors_are_small(taps):
    size, generator = (8, 8), np.random.default_rng(1)
    x = generator.normal(size=(4, *winograd.input_size(size, (taps, taps)), 64))
    kernel = generator.normal(size=(taps, taps, 64, 64))
    exact = _definition(x, kernel, size)
    narrow = [np.asarray(a, np.float32) for a in (x, kernel)]

    def error(y):
        return np.sqrt(np.mean((np.asarray(y, np.float64) - exact) ** 2))

    # The rounding of the inputs affects both equally.
    filtered = jax.jit(winograd.gather, static_argnums=(2, 3))(*narrow, size, None)
    assert error(filtered) < 3 * error(_definition(*narrow, size))


@pytest.mark.parametrize(
    ("shape", "stride", "size", "dtype", "products"),
    [
        ((3, 3, 32, 32), 1, 7, jnp.float32, 16),
        ((3, 3, 32, 32), 1, 7, jnp.bfloat16, 0),  # bfloat16 is too inaccurate
        ((3, 3, 32, 32), 1, 1, jnp.float32, 0),  # half of every tile would be unused
        ((3, 3, 8, 8), 1, 7, jnp.float32, 0),  # a canonical convolution is faster
        ((4, 4, 16, 32), 2, 8, jnp.float32, 9),
        ((4, 4, 4, 32), 2, 8, jnp.float32, 1),
        ((3, 3, 32, 32), 2, 8, jnp.float32, 0),  # taps padded with zeros save nothing
    ],
)
def test_when_winograd_is_used(shape, stride, size, dtype, products):
    kh, kw, inputs, _ = shape
    small = (-(-size // stride),) * 2
    geometry = Geometry((size, size), small, (kh, kw), stride)
    x, kernel = jnp.zeros((2, size, size, inputs), dtype), jnp.zeros(shape, dtype)
    jaxpr = jax.make_jaxpr(lambda x, k: gather(x, k, geometry, None))(x, kernel)
    assert str(jaxpr).count("dot_general") == products
