"""Examples that share a class of a factor: who is drawn, and how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.evaluation.disentanglement.factor_sampling import by_factors, draw_alike

KEY = jax.random.key(0)
TABLE = np.array([[5, 0], [5, 2], [9, 2], [5, 2], [7, 0], [9, 0]])


def test_the_examples_of_each_class():
    examples = by_factors(TABLE)
    np.testing.assert_array_equal(
        examples.classes, [[0, 0], [0, 1], [2, 1], [0, 1], [1, 0], [2, 0]]
    )
    np.testing.assert_array_equal(examples.amount, [[3, 1, 2], [3, 3, 0]])
    for k, c in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        start, amount = examples.start[k, c], examples.amount[k, c]
        found = np.asarray(examples.order[k, start : start + amount])
        np.testing.assert_array_equal(found, np.flatnonzero(examples.classes[:, k] == c))


def test_draws_are_uniform_among_those_alike():
    examples, n = by_factors(TABLE), 6000
    draw = jax.jit(lambda key, k, c: draw_alike(examples, key, k, c))
    for k, c, alike in ((0, 0, [0, 1, 3]), (0, 2, [2, 5]), (1, 1, [1, 2, 3])):
        indices = draw(jax.random.fold_in(KEY, k), jnp.int32(k), jnp.full(n, c, jnp.int32))
        counts = np.bincount(indices, minlength=6)
        assert np.flatnonzero(counts).tolist() == alike
        share = n / len(alike)
        assert (np.abs(counts[alike] - share) < 4.5 * np.sqrt(share)).all()


def test_factors_and_classes_may_differ_from_draw_to_draw():
    factor, classes = jnp.array([0, 1, 0, 1]), jnp.array([1, 1, 2, 0])
    examples = by_factors(TABLE)
    for key in jax.random.split(KEY, 20):
        drawn = draw_alike(examples, key, factor, classes)
        np.testing.assert_array_equal(examples.classes[drawn, factor], classes)


@pytest.mark.parametrize("bad", [np.zeros((0, 3), int), np.zeros((3, 0), int), np.arange(3)])
def test_no_table_is_refused(bad):
    with pytest.raises(ValueError, match=r"expected factor classes \[N, K\], found shape"):
        by_factors(bad)
