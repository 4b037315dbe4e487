"""FLOPs against counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.flops import flops, products

X, W = jnp.ones((8, 16)), jnp.ones((16, 16)) / 16
PRODUCT = 2 * 8 * 16 * 16


def loop(x):
    jax.debug.callback(lambda: None)  # an equation without outputs or FLOPs
    return jax.lax.scan(lambda h, _: (h @ W, None), x, length=5)[0]


def count(fn, *args, **options):
    return products(jax.make_jaxpr(fn)(*args).jaxpr, **options)


def test_products_in_loops_are_counted_per_iteration():
    assert count(loop, X) == 5 * PRODUCT
    assert count(loop, X, loops_once=True) == PRODUCT
    nested = jax.jit(lambda x: jax.lax.map(loop, jnp.stack([x, x, x])).sum())
    assert count(nested, X) == 15 * PRODUCT
    assert count(nested, X, loops_once=True) == PRODUCT
    # The backward pass has a product with the transposed constant for each; W has no gradient.
    assert count(jax.grad(nested), X) == 30 * PRODUCT


def test_batched_products_and_convolutions():
    assert count(jnp.matmul, jnp.ones((7, 2, 3)), jnp.ones((7, 3, 4))) == 2 * 7 * 2 * 3 * 4
    dims = ("NHWC", "HWIO", "NHWC")

    def conv(groups, x, k):
        return jax.lax.conv_general_dilated(
            x, k, (2, 2), "SAME", dimension_numbers=dims, feature_group_count=groups
        )

    x = jnp.ones((2, 8, 8, 6))
    full = count(lambda x: conv(1, x, jnp.ones((3, 3, 6, 10))), x)
    assert full == 2 * (2 * 4 * 4 * 10) * (3 * 3 * 6)
    grouped = count(lambda x: conv(2, x, jnp.ones((3, 3, 3, 10))), x)
    assert grouped == 2 * (2 * 4 * 4 * 10) * (3 * 3 * 3)


def test_the_most_expensive_branch_counts():
    def branches(x):
        return jax.lax.cond(x.sum() > 0, lambda x: x @ W @ W, lambda x: x @ W, x)

    assert count(branches, X) == 2 * PRODUCT


def test_flops_count_merged_products_once_and_loops_per_iteration():
    def duplicate(x):
        return (x @ W) + jnp.sin(x @ W)

    assert flops(duplicate, X) == pytest.approx(PRODUCT, rel=0.1)
    assert flops(loop, X) == pytest.approx(5 * PRODUCT, rel=0.05)
