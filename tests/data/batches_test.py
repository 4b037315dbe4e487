"""Tests of batch indices, of the evaluation order and of binarisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.data.batches import batch_indices, eval_batches, eval_order
from vaejax.data.preprocess import event_shape, preparation
from vaejax.data.readers.npz import from_arrays


def indices_of_steps(seed, size, batch_size, steps):
    return np.concatenate([batch_indices(seed, s, size, batch_size) for s in range(steps)])


@pytest.mark.parametrize(("size", "batch_size"), [(12, 4), (10, 4), (7, 7), (3, 8), (1, 5), (5, 1)])
def test_every_example_occurs_once_per_epoch(size, batch_size):
    indices = indices_of_steps(3, size, batch_size, steps=4 * size)
    assert indices.dtype == np.int32
    assert len(indices) == 4 * size * batch_size
    for epoch in range(4 * batch_size):
        of_epoch = indices[epoch * size : (epoch + 1) * size]
        np.testing.assert_array_equal(np.sort(of_epoch), np.arange(size))


def test_a_batch_may_span_two_epochs():
    indices = indices_of_steps(0, 10, 4, steps=5)
    straddling = batch_indices(0, 2, 10, 4)  # examples 8 and 9 of epoch 0, 0 and 1 of epoch 1
    np.testing.assert_array_equal(straddling, indices[8:12])
    assert set(straddling[:2]) == set(range(10)) - set(indices[:8])
    assert set(straddling[2:]).isdisjoint(indices[12:20])


def test_epochs_are_shuffled_differently():
    first, second = np.split(indices_of_steps(0, 50, 10, steps=10), 2)
    assert (first != second).any()
    assert (first != np.arange(50)).any()


def test_batches_are_a_pure_function_of_seed_and_step():
    steps = [7, 0, 100, 3, 7, 2, 0]  # more epochs than the cache of permutations holds
    once = [batch_indices(5, s, 6, 4) for s in steps]
    again = [batch_indices(5, s, 6, 4) for s in reversed(steps)][::-1]
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(once[0], once[4])


def test_modifying_a_batch_does_not_change_the_next_call():
    batch_indices(0, 0, 8, 8)[:] = 0
    np.testing.assert_array_equal(np.sort(batch_indices(0, 0, 8, 8)), np.arange(8))


def test_batches_equal_recorded_numbers():
    # Another version of NumPy must not change the batches of a resumed run.
    np.testing.assert_array_equal(batch_indices(0, 0, 10, 5), [3, 7, 6, 4, 1])
    np.testing.assert_array_equal(batch_indices(1, 3, 10, 5), [8, 3, 1, 4, 5])


def test_seeds_differ():
    assert (indices_of_steps(0, 100, 10, 10) != indices_of_steps(1, 100, 10, 10)).any()


@pytest.mark.parametrize(("size", "batch_size"), [(10, 4), (8, 4), (3, 8), (1, 1)])
def test_eval_batches_count_every_example_once(size, batch_size):
    batches = list(eval_batches(size, batch_size))
    assert all(i.shape == m.shape == (batch_size,) for i, m in batches)
    assert all(i.dtype == np.int32 and m.dtype == bool for i, m in batches)
    assert all((i < size).all() for i, _ in batches)
    counted = np.concatenate([i[m] for i, m in batches])
    np.testing.assert_array_equal(np.sort(counted), np.arange(size))
    np.testing.assert_array_equal(counted, eval_order(size))


@pytest.mark.parametrize("limit", [1, 4, 7, 8, 9])
def test_a_limit_keeps_the_first_batches(limit):
    batches, limited = list(eval_batches(10, 4)), list(eval_batches(10, 4, limit))
    for (expected, _), (indices, _) in zip(batches, limited, strict=False):
        np.testing.assert_array_equal(indices, expected)
    counted = np.concatenate([i[m] for i, m in limited])
    np.testing.assert_array_equal(counted, eval_order(10)[:limit])
    assert len(limited) == -(-limit // 4)


def test_a_limit_above_the_size_evaluates_the_whole_split():
    assert sum(m.sum() for _, m in eval_batches(10, 4, 1000)) == 10


def test_the_evaluation_order_equals_recorded_numbers():
    # Metrics of a part of a split must stay comparable under another version of NumPy.
    np.testing.assert_array_equal(eval_order(10), [8, 2, 5, 6, 3, 1, 0, 7, 4, 9])


def test_any_part_of_a_sorted_split_is_a_random_sample():
    classes = np.repeat(np.arange(10), 1000)  # examples sorted by class
    for indices, mask in eval_batches(len(classes), 500):
        shares = np.bincount(classes[indices[mask]], minlength=10) / 500
        assert (np.abs(shares - 0.1) < 5 * np.sqrt(0.09 / 500)).all()


GREYS = np.array([0, 51, 102, 128, 204, 255], np.uint8)


@pytest.fixture
def greys():
    pixels = np.broadcast_to(GREYS[None, :, None, None], (4, 6, 2, 1)).copy()
    return from_arrays({"image": pixels, "label": np.arange(4)}, holdout=0)


def prepare_all(source, binarize, key=0):
    rows = source.take(np.arange(4))
    return jax.jit(preparation(source, binarize))(rows, jax.random.key(key))


def test_no_binarisation(greys):
    batch = prepare_all(greys, "none")
    np.testing.assert_allclose(batch["image"][0, :, 0, 0], GREYS / 255, rtol=1e-6)
    np.testing.assert_array_equal(batch["label"], np.arange(4))


def test_threshold_at_one_half(greys):
    image = prepare_all(greys, "threshold")["image"]
    assert image.dtype == jnp.float32
    np.testing.assert_array_equal(image[0, :, 0, 0], [0, 0, 0, 1, 1, 1])  # 128 / 255 > 1/2


def test_dynamic_binarisation_has_the_grey_level_as_its_mean(greys):
    prepare, rows = preparation(greys, "dynamic"), greys.take(np.arange(4))
    keys = jax.random.split(jax.random.key(0), 500)
    samples = jax.vmap(lambda key: prepare(rows, key)["image"])(keys)  # [500, 4, 6, 2, 1]
    assert samples.dtype == jnp.float32
    np.testing.assert_array_equal(np.unique(samples), [0, 1])
    frequency = np.asarray(samples).mean(axis=(0, 1, 3, 4))  # of 4,000 samples each
    p = GREYS / 255
    assert (np.abs(frequency - p) <= 4 * np.sqrt(p * (1 - p) / 4000)).all()
    assert (samples[0] != samples[1]).any()


def test_sequences_are_binarised_vectors_are_not():
    sequence = from_arrays(np.full((2, 3, 4, 4, 1), 128, np.uint8), holdout=0)
    rows = sequence.take(np.arange(2))
    binary = preparation(sequence, "threshold")(rows, jax.random.key(0))["sequence"]
    np.testing.assert_array_equal(binary, np.ones((2, 3, 4, 4, 1)))
    vector = from_arrays(np.full((2, 3), 0.75, np.float32), holdout=0)
    rows = vector.take(np.arange(2))
    same = preparation(vector, "threshold")(rows, jax.random.key(0))["vector"]
    np.testing.assert_array_equal(same, np.full((2, 3), 0.75))


def test_an_unknown_binarisation_is_reported(greys):
    with pytest.raises(ValueError, match=r"data\.binarize 'dynamc' \(known: .*'dynamic'\?"):
        preparation(greys, "dynamc")


def test_event_shape(greys):
    assert event_shape(greys) == (6, 2, 1)
    assert event_shape(from_arrays(np.zeros((5, 7)))) == (7,)
