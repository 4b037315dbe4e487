"""A codebook whose codes lie on four devices: equal to one on a single device, exactly."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vaejax.core.sharding import make_mesh
from vaejax.core.tensor_axis import using_mesh
from vaejax.distributions import OneHotCodes
from vaejax.optimizers.ema_codebook import ema_codebook
from vaejax.quantizers import residual, vector
from vaejax.quantizers.nearest_neighbors import Blocks, nearest
from vaejax.quantizers.segment_sums import code_sums, codes_at

CODES, DIM, TOKENS = 64, 8, 512
ROWS, OVER_CODES = P(("data", "fsdp")), P("tensor")


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(2, 1, 4)


@pytest.fixture(scope="module")
def arrays():
    """Whole numbers, whose distances have no rounding, with many ties between devices."""
    rng = np.random.RandomState(0)
    codebook = rng.randint(-2, 3, (CODES, DIM)).astype(np.float32)
    codebook[20:40] = codebook[:20]  # of the first device, on the second and the third
    codebook[50] = codebook[49]
    tokens = rng.randint(-2, 3, (TOKENS, DIM)).astype(np.float32)
    tokens[:CODES] = codebook
    return tokens, codebook


def on(mesh, array, spec):
    return jax.device_put(array, NamedSharding(mesh, spec))


@pytest.mark.parametrize("blocks", [None, Blocks(100, 6, 3), Blocks(64, 5)])
def test_the_first_of_equally_near_codes_is_found(mesh, arrays, blocks):
    tokens, codebook = arrays
    distance = ((tokens[:, None].astype(np.int64) - codebook[None]) ** 2).sum(axis=-1)

    @jax.jit
    def search(tokens, codebook):
        with using_mesh(mesh):
            return nearest(tokens, codebook, blocks=blocks)

    found = search(on(mesh, tokens, ROWS), on(mesh, codebook, OVER_CODES))
    np.testing.assert_array_equal(found, distance.argmin(axis=1))
    assert (np.sort(distance, axis=1)[:, 0] == np.sort(distance, axis=1)[:, 1]).sum() > 50


def test_tokens_that_are_not_numbers_get_a_code(mesh, arrays):
    tokens, codebook = arrays
    with using_mesh(mesh):
        found = jax.jit(nearest)(np.full_like(tokens[:8], np.nan), codebook)
    assert ((found >= 0) & (found < CODES)).all()


def test_sums_lookups_and_their_gradient(mesh, arrays):
    tokens, codebook = arrays
    indices = np.random.RandomState(1).randint(-1, CODES, (TOKENS, 1))

    def of(codebook, tokens, indices):
        sums = code_sums(tokens[:, None], indices, CODES)
        weight = jnp.arange(TOKENS * DIM, dtype=jnp.float32).reshape(TOKENS, DIM) % 7
        looked_up = codes_at(codebook, jnp.maximum(indices[:, 0], 0))
        return (looked_up * weight).sum(), (sums, looked_up)

    def sharded(*arguments):
        with using_mesh(mesh):
            return jax.grad(of, has_aux=True)(*arguments)

    expected = jax.jit(jax.grad(of, has_aux=True))(codebook, tokens, indices)
    found = jax.jit(sharded)(
        on(mesh, codebook, OVER_CODES), on(mesh, tokens, ROWS), on(mesh, indices, ROWS)
    )
    jax.tree.map(np.testing.assert_array_equal, found, expected)  # whole numbers: no rounding
    assert found[1][0].sharding.spec == P(None, "tensor")


def ema(codebook, tokens, key):
    """The change of a codebook by a moving average, and its state, after one step."""
    optimizer = ema_codebook(0.9, revive_below=0.1)
    indices = nearest(tokens, codebook)
    posterior = OneHotCodes(tokens, codes_at(codebook, indices), indices, len(codebook))
    trace = types.SimpleNamespace(latents=[types.SimpleNamespace(posterior=posterior)])
    params = {"codebook": codebook}
    return optimizer.update(params, optimizer.init(params), params, trace=trace, key=key)


def test_moving_averages_of_a_quarter_of_the_codes_on_each_device(mesh):
    codes, dim, tokens = 2048, 64, 256
    rng = np.random.RandomState(0)
    codebook = rng.randn(codes, dim).astype(np.float32)
    features, key = rng.randn(tokens, dim).astype(np.float32), jax.random.key(0)

    def sharded(codebook, features, key):
        with using_mesh(mesh):
            return ema(codebook, features, key)

    parts = on(mesh, codebook, OVER_CODES), on(mesh, features, ROWS), key
    compiled = jax.jit(sharded).lower(*parts).compile()
    whole = jax.jit(ema).lower(codebook, features, key).compile()
    expected, found = whole(codebook, features, key), compiled(*parts)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )

    for array in (parts[0], found[0]["codebook"], found[1].total["codebook"]):
        assert {s.data.shape for s in array.addressable_shards} == {(codes // 4, dim)}
    a, b = whole.memory_analysis(), compiled.memory_analysis()
    # The codes and their sums; the rest, among them a random feature for each code, is smaller.
    assert b.argument_size_in_bytes < 0.3 * a.argument_size_in_bytes
    assert b.output_size_in_bytes < 0.3 * a.output_size_in_bytes
    assert b.temp_size_in_bytes < 0.6 * a.temp_size_in_bytes


def test_a_stack_of_codebooks(mesh):
    rng = np.random.RandomState(0)
    tokens = rng.randn(16, 4, DIM).astype(np.float32)
    quantizer = residual(vector(32, DIM), levels=2)
    params = rng.randn(2, 32, DIM).astype(np.float32)

    def quantize(params, tokens):
        q, z = quantizer.quantize(params, tokens, None)
        return q.indices, z

    def sharded(params, tokens):
        with using_mesh(mesh):
            return quantize(params, tokens)

    expected = jax.jit(quantize)(params, tokens)
    found = jax.jit(sharded)(on(mesh, params, P(None, "tensor")), on(mesh, tokens, ROWS))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)


def test_codes_that_the_devices_cannot_divide_are_searched_as_usual(mesh, arrays):
    tokens, codebook = arrays
    with using_mesh(mesh):
        found = jax.jit(nearest)(tokens, codebook[:30])
    np.testing.assert_array_equal(found, jax.jit(lambda t, c: nearest(t, c))(tokens, codebook[:30]))
