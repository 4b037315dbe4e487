"""The distribution of pairs of times."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.models.time_pairs import delta_distribution, sample_pairs, sample_present_pairs


def present_pairs(key, num_pairs, deltas, mask):
    return jax.jit(lambda key, mask: sample_present_pairs(key, num_pairs, deltas, mask))(key, mask)


def test_deltas_follow_the_mixture_and_times_fit():
    deltas = delta_distribution([(1, 10, 0.8), (1, 120, 0.2)], 200)
    first, second = jax.jit(lambda k: sample_pairs(k, (200_000,), deltas, 200))(jax.random.key(0))
    delta = np.asarray(second - first)
    assert first.dtype == np.int32
    assert first.min() == 0
    assert second.max() == 199
    share = np.bincount(delta, minlength=121) / len(delta)
    want = np.zeros(121)
    want[1:11] += 0.8 / 10
    want[1:121] += 0.2 / 120
    np.testing.assert_allclose(share, want, atol=4 * np.sqrt(0.08 / len(delta)))
    # t1 is uniform over the times with t1 + δ < 200: for δ = 1 over 199 of them.
    counts = np.bincount(np.asarray(first)[delta == 1], minlength=199)
    assert abs(counts.std() / np.sqrt(counts.mean()) - 1) < 0.2  # as of a Poisson distribution


def test_weights_are_relative_and_optional():
    assert delta_distribution([(1, 2), (3, 4)], 5).weight == (0.5, 0.5)
    assert delta_distribution([(1, 2, 3.0), (3, 4, 1.0)], 5).weight == (0.75, 0.25)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([(0, 3)], r"found \(0, 3, 1.0\)"),
        ([(3, 2)], r"found \(3, 2, 1.0\)"),
        ([(1, 2, 0.0)], r"found \(1, 2, 0.0\)"),
        ([(1, 5)], "up to 5 do not fit into sequences of length 5: at most 4"),
        ([], "at least one range"),
    ],
)
def test_invalid_ranges_are_reported(ranges, message):
    with pytest.raises(ValueError, match=message):
        delta_distribution(ranges, 5)


def test_pairs_of_present_times_are_those_of_shorter_sequences():
    key, lengths = jax.random.key(5), (6, 10)
    for length in lengths:
        mask = jnp.broadcast_to(jnp.arange(10)[None] < length, (500, 10))
        deltas = delta_distribution(((1, 2), (4, 5, 2.0)), 6)
        first, second, valid = present_pairs(key, 3, deltas, mask)
        want = sample_pairs(key, (500, 3), deltas, length)
        np.testing.assert_array_equal(first, want[0])
        np.testing.assert_array_equal(second, want[1])
        assert valid.all()


def test_pairs_avoid_missing_times():
    deltas = delta_distribution(((1, 3),), 8)
    present = np.array([[1, 0, 0, 1, 1, 0, 0, 1], [0, 1, 0, 0, 0, 1, 0, 0]], bool)
    mask = jnp.asarray(np.repeat(present, 3000, axis=0))
    first, second, valid = present_pairs(jax.random.key(0), 1, deltas, mask)
    pairs = np.stack([first, second], axis=-1).reshape(2, 3000, 2)
    found, counts = np.unique(pairs[0], axis=0, return_counts=True)
    # δ = 2 does not occur: it becomes 1 or 3, which have one and two pairs.
    np.testing.assert_array_equal(found, [[0, 3], [3, 4], [4, 7]])
    np.testing.assert_allclose(counts / 3000, [0.25, 0.5, 0.25], atol=0.04)
    assert valid[:3000].all()
    assert not valid[3000:].any()  # four steps apart
