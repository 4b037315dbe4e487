import jax
import numpy as np
import pytest

from vaejax.models.time_pairs import draw_pairs, make_steps


def test_steps_follow_the_mixture_and_times_fit():
    steps = make_steps([(1, 10, 0.8), (1, 120, 0.2)], 200)
    first, second = jax.jit(lambda k: draw_pairs(k, (200_000,), steps, 200))(jax.random.key(0))
    delta = np.asarray(second - first)
    assert first.dtype == np.int32
    assert first.min() == 0
    assert second.max() == 199
    share = np.bincount(delta, minlength=121) / len(delta)
    want = np.zeros(121)
    want[1:11] += 0.8 / 10
    want[1:121] += 0.2 / 120
    np.testing.assert_allclose(share, want, atol=4 * np.sqrt(0.08 / len(delta)))
    # t1 is uniform where both times fit: for δ = 1 over 199 places.
    places = np.bincount(np.asarray(first)[delta == 1], minlength=199)
    assert abs(places.std() / np.sqrt(places.mean()) - 1) < 0.2  # Poisson's


def test_weights_are_relative_and_may_be_left_out():
    assert make_steps([(1, 2), (3, 4)], 5).weight == (0.5, 0.5)
    assert make_steps([(1, 2, 3.0), (3, 4, 1.0)], 5).weight == (0.75, 0.25)


@pytest.mark.parametrize(
    ("ranges", "says"),
    [
        ([(0, 3)], r"found \(0, 3, 1.0\)"),
        ([(3, 2)], r"found \(3, 2, 1.0\)"),
        ([(1, 2, 0.0)], r"found \(1, 2, 0.0\)"),
        ([(1, 5)], "up to 5 do not fit into sequences of length 5: at most 4"),
        ([], "at least one range"),
    ],
)
def test_mistakes_are_named(ranges, says):
    with pytest.raises(ValueError, match=says):
        make_steps(ranges, 5)
