"""Precision, recall, density, coverage against all pairs in float64, and in known cases."""

import numpy as np
import pytest
import scipy.spatial

from vaejax.evaluation.generation.precision_recall import precision_recall, squared_radii


def brute_force(real, generated, k):
    def radii(x):
        return np.sort(scipy.spatial.distance.cdist(x, x), axis=1)[:, k]  # the first is itself

    pairs = scipy.spatial.distance.cdist(real, generated)
    inside = pairs <= radii(real)[:, None]
    return {
        "precision": inside.any(axis=0).mean(),
        "recall": (pairs <= radii(generated)[None]).any(axis=1).mean(),
        "density": inside.sum() / (k * len(generated)),
        "coverage": inside.any(axis=1).mean(),
    }


@pytest.mark.parametrize(("k", "block", "dim"), [(3, 64, 6), (5, 512, 6), (3, 512, 128)])
def test_against_all_pairs(k, block, dim):
    """Few and many features compile differently; rows of padding must not count."""
    random = np.random.RandomState(0)
    shift, scale = (0.3, 0.7) if dim < 10 else (0.12, 0.97)
    real, generated = random.randn(150, dim), scale * random.randn(130, dim) + shift
    scores = precision_recall(real, generated, k=k, block=block)
    assert scores == pytest.approx(brute_force(real, generated, k), abs=1e-12)
    assert len({round(value, 3) for value in scores.values()}) == 4
    shifted = precision_recall(real + 1e4, generated + 1e4, k=k, block=block)
    assert shifted == pytest.approx(scores, abs=1e-12)


def tight_groups(n, seed, separation):
    """Eight groups of unit width, whose centres are `separation` apart; float32 as features are."""
    centres = separation * np.random.RandomState(1).randn(8, 16)
    random = np.random.RandomState(seed)
    return (centres[random.randint(8, size=n)] + random.randn(n, 16)).astype(np.float32)


@pytest.mark.parametrize("separation", [1e2, 1e4])
def test_tight_groups_far_apart(separation):
    real, generated = tight_groups(300, 2, separation), tight_groups(250, 3, separation)
    expected = brute_force(real.astype(np.float64), generated.astype(np.float64), 3)
    assert precision_recall(real, generated) == pytest.approx(expected, abs=1e-12)
    assert 0.5 < expected["recall"] < 0.95


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_copies_of_the_data_are_on_the_boundary_of_its_balls(offset):
    """Each ball holds its centre and k neighbours; balls of duplicates have no radius."""
    data = (offset + np.random.RandomState(4).randn(100, 5)).astype(np.float32)
    scores = precision_recall(data, data[::-1])
    assert scores == {"precision": 1.0, "recall": 1.0, "density": 4 / 3, "coverage": 1.0}
    scores = precision_recall(np.repeat(data, 4, axis=0), data)
    assert scores["density"] == 4 / 3


def test_radii_exclude_the_example_itself():
    x = np.array([[0.0], [1.0], [3.0], [7.0], [7.0]], np.float32)
    np.testing.assert_allclose(squared_radii(x, 1, 2), [1, 1, 4, 0, 0])
    np.testing.assert_allclose(squared_radii(x, 2, 2), [9, 4, 9, 16, 16])


def test_generators_with_a_missing_and_with_an_additional_mode():
    random = np.random.RandomState(1)
    left, right = random.randn(2, 200, 2) + np.array([[[-50.0, 0.0]], [[50.0, 0.0]]])
    missing = precision_recall(np.concatenate([left, right]), random.permutation(left))
    assert missing["precision"] == 1.0
    assert missing["recall"] == missing["coverage"] == 0.5
    additional = precision_recall(left, np.concatenate([left, right]))
    assert additional["recall"] == additional["coverage"] == 1.0
    assert additional["precision"] == 0.5
    assert precision_recall(left, right) == {
        "precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0
    }  # fmt: skip


def test_invalid_arguments_are_reported():
    x = np.random.RandomState(0).randn(4, 2)
    with pytest.raises(ValueError, match=r"k=4 neighbours need k \+ 1 examples of each, found 4"):
        precision_recall(x, x, k=4)
    with pytest.raises(ValueError, match=r"found \(4, 2\) and \(4, 1\)"):
        precision_recall(x, x[:, :1])
    with pytest.raises(ValueError, match="features of the generated examples are not finite"):
        precision_recall(x, np.full((4, 2), np.inf))
