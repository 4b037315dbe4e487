"""FLOPs against what a hand counts."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.flops import flops, products

X, W = jnp.ones((8, 16)), jnp.ones((16, 16)) / 16
PRODUCT = 2 * 8 * 16 * 16


def looped(x):
    jax.debug.callback(lambda: None)  # gives nothing, costs nothing
    return jax.lax.scan(lambda h, _: (h @ W, None), x, length=5)[0]


def counted(fn, *args, **how):
    return products(jax.make_jaxpr(fn)(*args).jaxpr, **how)


def test_products_are_counted_as_often_as_they_are_taken():
    assert counted(looped, X) == 5 * PRODUCT
    assert counted(looped, X, loops_once=True) == PRODUCT
    nested = jax.jit(lambda x: jax.lax.map(looped, jnp.stack([x, x, x])).sum())
    assert counted(nested, X) == 15 * PRODUCT
    assert counted(nested, X, loops_once=True) == PRODUCT
    # Backward, a product with the constant's transpose for each; no weight's gradient is asked.
    assert counted(jax.grad(nested), X) == 30 * PRODUCT


def test_a_batched_product_and_convolutions():
    assert counted(jnp.matmul, jnp.ones((7, 2, 3)), jnp.ones((7, 3, 4))) == 2 * 7 * 2 * 3 * 4
    dims = ("NHWC", "HWIO", "NHWC")

    def conv(groups, x, k):
        return jax.lax.conv_general_dilated(
            x, k, (2, 2), "SAME", dimension_numbers=dims, feature_group_count=groups
        )

    x = jnp.ones((2, 8, 8, 6))
    got = counted(lambda x: conv(1, x, jnp.ones((3, 3, 6, 10))), x)
    assert got == 2 * (2 * 4 * 4 * 10) * (3 * 3 * 6)
    got = counted(lambda x: conv(2, x, jnp.ones((3, 3, 3, 10))), x)
    assert got == 2 * (2 * 4 * 4 * 10) * (3 * 3 * 3)


def test_of_two_branches_the_dearer_counts():
    def either(x):
        return jax.lax.cond(x.sum() > 0, lambda x: x @ W @ W, lambda x: x @ W, x)

    assert counted(either, X) == 2 * PRODUCT


def test_what_the_compiler_merges_counts_once_and_a_loop_as_often_as_it_runs():
    def twice(x):
        return (x @ W) + jnp.sin(x @ W)

    assert flops(twice, X) == pytest.approx(PRODUCT, rel=0.1)
    assert flops(looped, X) == pytest.approx(5 * PRODUCT, rel=0.05)
