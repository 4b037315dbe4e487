"""MMD in chunks, over devices, in bounded memory, and far from the origin."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import losses
from vaejax.core.game import Latent, Trace
from vaejax.core.sharding import batch_sharding, make_mesh
from vaejax.distributions import Normal
from vaejax.losses import squared_mmd

KEY = jax.random.key(0)
BOTH = pytest.mark.parametrize("kernel", ["rbf", "imq"])
SCALES = (0.3, 1.0, 4.0)


def points(n, m, dim=3, seed=0):
    rng = np.random.RandomState(seed)
    return rng.randn(n, dim).astype(np.float32), (rng.rand(m, dim) * 2).astype(np.float32)


def trace_of(z, prior):
    return Trace(z, None, tuple(Latent(Normal(a, jnp.ones_like(a)), p, a)
                                for a, p in zip(z, prior, strict=True)))  # fmt: skip


def standard(z):
    return Normal(jnp.zeros_like(z), jnp.ones_like(z))


@pytest.mark.parametrize(("kernel", "estimator"), [("rbf", "unbiased"), ("imq", "biased")])
def test_chunks_change_neither_value_nor_gradient(kernel, estimator):
    x, y = points(37, 29)

    def value_and_gradient(max_pairs):
        def f(x, y):
            return squared_mmd(x, y, kernel=kernel, estimator=estimator, max_pairs=max_pairs)

        return jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(x, y)

    want = value_and_gradient(10**6)
    for max_pairs in (1, 100):  # chunks of one row, and of three, the last of one
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6),
            value_and_gradient(max_pairs),
            want,
        )


def test_memory_is_bounded():
    """All pairs of 8,192 points are 256 MiB of kernel values; the bound is 2²⁰ pairs, 4 MiB."""
    n, bound = 8192, 2**20

    def bytes_of(max_pairs):
        f = jax.grad(lambda x, y: squared_mmd(x, y, scales=SCALES, max_pairs=max_pairs))
        x = jax.ShapeDtypeStruct((n, 10), jnp.float32)
        return jax.jit(f).lower(x, x).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(bound) < 16 * 4 * bound
    assert bytes_of(n * n) > 4 * n * n


@BOTH
def test_it_is_exact_far_from_the_origin_and_at_coinciding_points(kernel):
    x, y = points(30, 30)
    y[:10] = x[:10]

    @jax.jit
    @jax.value_and_grad
    def f(x, y):
        return squared_mmd(x, y, kernel=kernel, bandwidth=1.0)

    value, grad = f(x, y)
    far = 2.0**12  # 12 of the 24 bits are lost to the shift itself: 2^-13 in each coordinate
    shifted, shifted_grad = f(x + far, y + far)
    rounded, _ = f((x + far) - far, (y + far) - far)
    np.testing.assert_allclose(shifted, rounded, atol=1e-6)
    np.testing.assert_allclose(shifted, value, atol=1e-3)
    np.testing.assert_allclose(shifted_grad, grad, atol=1e-3)
    same = np.full_like(x, 3.0), np.full_like(y, 3.0)
    value, grad = f(*same)
    np.testing.assert_allclose(value, 0.0, atol=1e-6)
    np.testing.assert_allclose(grad, 0.0, atol=1e-12)  # the mean of thirty threes is rounded
    apart, grad = f(1e15 * same[0], -1e15 * same[1])
    np.testing.assert_allclose(apart, 2.0, rtol=1e-6)
    assert jnp.isfinite(grad).all()


@pytest.mark.parametrize("max_pairs", [2**24, 1000])
def test_one_device_equals_eight(max_pairs):
    """The MMD of the global batch is not the mean of the MMDs of eight shards."""
    x, _ = points(64, 64)
    transform = losses.mmd("imq", SCALES, max_pairs=max_pairs)

    def f(z):
        return transform.apply({}, {}, trace_of([z], [standard(z)]), KEY)["mmd"]

    sharded = jax.device_put(x, batch_sharding(make_mesh(8)))
    assert len(sharded.sharding.device_set) == 8
    want, got = jax.jit(jax.value_and_grad(f))(x), jax.jit(jax.value_and_grad(f))(sharded)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), got, want)
    shards = np.mean(jax.jit(jax.vmap(f))(x.reshape(8, 8, 3)))
    assert abs(shards - want[0]) > 0.1


def test_pairs_may_be_too_many_for_an_int32():
    """65,536² is 2³²; the program is traced but not run."""
    points = jax.ShapeDtypeStruct((65_536, 2), jnp.float32)
    for estimator in ("biased", "unbiased"):
        f = functools.partial(squared_mmd, estimator=estimator)
        assert jax.eval_shape(f, points, points).shape == ()
