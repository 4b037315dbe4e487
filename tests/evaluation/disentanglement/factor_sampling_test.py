"""Sampling of examples that share the class of a factor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.evaluation.disentanglement.factor_sampling import index_by_factor, sample_with_class

KEY = jax.random.key(0)
TABLE = np.array([[5, 0], [5, 2], [9, 2], [5, 2], [7, 0], [9, 0]])


def test_index_lists_the_examples_of_each_class():
    index = index_by_factor(TABLE)
    np.testing.assert_array_equal(index.classes, [[0, 0], [0, 1], [2, 1], [0, 1], [1, 0], [2, 0]])
    np.testing.assert_array_equal(index.sizes, [[3, 1, 2], [3, 3, 0]])
    for k, c in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        start, size = index.start[k, c], index.sizes[k, c]
        members = np.asarray(index.order[k, start : start + size])
        np.testing.assert_array_equal(members, np.flatnonzero(index.classes[:, k] == c))


def test_samples_are_uniform_within_a_class():
    index, n = index_by_factor(TABLE), 6000
    sample = jax.jit(lambda key, k, c: sample_with_class(index, key, k, c))
    for k, c, members in ((0, 0, [0, 1, 3]), (0, 2, [2, 5]), (1, 1, [1, 2, 3])):
        indices = sample(jax.random.fold_in(KEY, k), jnp.int32(k), jnp.full(n, c, jnp.int32))
        counts = np.bincount(indices, minlength=6)
        assert np.flatnonzero(counts).tolist() == members
        share = n / len(members)
        assert (np.abs(counts[members] - share) < 4.5 * np.sqrt(share)).all()


def test_factors_and_classes_may_differ_between_samples():
    factor, classes = jnp.array([0, 1, 0, 1]), jnp.array([1, 1, 2, 0])
    index = index_by_factor(TABLE)
    for key in jax.random.split(KEY, 20):
        sampled = sample_with_class(index, key, factor, classes)
        np.testing.assert_array_equal(index.classes[sampled, factor], classes)


@pytest.mark.parametrize("bad", [np.zeros((0, 3), int), np.zeros((3, 0), int), np.arange(3)])
def test_invalid_tables_are_reported(bad):
    with pytest.raises(ValueError, match=r"expected factor classes \[N, K\], found shape"):
        index_by_factor(bad)
