"""The held-out part of examples without splits."""

import numpy as np
import pytest

from vaejax.data.source import hold_out


@pytest.mark.parametrize(("count", "fraction"), [(10, 0.1), (11, 0.5), (1000, 0.07), (2, 0.01)])
def test_holdout_is_disjoint_complete_and_repeatable(count, fraction):
    train, held = (hold_out(count, split, fraction) for split in ("train", "eval"))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(count))
    assert len(held) == max(1, round(count * fraction))
    np.testing.assert_array_equal(held, hold_out(count, "eval", fraction))
    assert (np.diff(train) > 0).all()


def test_without_holdout_both_splits_are_all_examples():
    for split in ("train", "eval"):
        np.testing.assert_array_equal(hold_out(5, split, 0), np.arange(5))


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_an_impossible_holdout_is_rejected(fraction):
    with pytest.raises(ValueError, match="holdout"):
        hold_out(10, "train", fraction)


def test_a_holdout_without_training_examples_is_rejected():
    with pytest.raises(ValueError, match="none to train on"):
        hold_out(1, "train", 0.1)
