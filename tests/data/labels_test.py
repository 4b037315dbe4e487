"""Labels that are kept for semi-supervised training, and batches with a fixed number of them."""

import jax
import numpy as np
import pytest

from vaejax.core.sharding import make_mesh
from vaejax.data import from_arrays
from vaejax.data.batches import batch_indices, training_indices
from vaejax.data.labels import choose_labelled, with_labels
from vaejax.training.batch_loader import BatchLoader

LABELS = np.random.RandomState(0).randint(0, 3, 200)


def source(labels=LABELS, **options):
    vectors = np.arange(len(labels), dtype=np.float32)[:, None]
    return from_arrays({"vector": vectors, "label": labels}, holdout=0, **options)


def labels_of(data):
    return np.asarray(data.decode(data.take(np.arange(data.size)))["label"])


def test_labels_are_balanced_over_the_classes_and_chosen_by_the_seed():
    chosen = choose_labelled(LABELS, 31, seed=0)
    assert len(np.unique(chosen)) == 31
    np.testing.assert_array_equal(np.bincount(LABELS[chosen]), [11, 10, 10])
    np.testing.assert_array_equal(chosen, choose_labelled(LABELS, 31, seed=0))
    assert not np.array_equal(chosen, choose_labelled(LABELS, 31, seed=1))


@pytest.mark.parametrize("resident", [2**30, 0])
def test_the_other_labels_are_minus_one(resident):
    data = source(max_resident_bytes=resident)
    kept = with_labels(data, 30, seed=4)
    got = labels_of(kept)
    assert (got >= 0).sum() == 30
    np.testing.assert_array_equal(got[got >= 0], LABELS[got >= 0])
    np.testing.assert_array_equal(labels_of(data), LABELS)
    assert with_labels(data) is data


def test_every_batch_has_the_same_number_of_labelled_examples():
    data = with_labels(source(), 30, per_batch=7, seed=0)
    labels, seen = labels_of(data), []
    for step in range(30):
        indices = training_indices(data, 5, step, 20)
        assert (labels[indices[:7]] >= 0).all()
        assert (labels[indices[7:]] == -1).all()
        seen.append(indices)
    first = np.concatenate([indices[:7] for indices in seen])[:210]
    np.testing.assert_array_equal(np.bincount(first, minlength=200)[labels >= 0], 7)
    rest = np.concatenate([indices[7:] for indices in seen])[:170]
    assert len(np.unique(rest)) == 170  # one epoch
    np.testing.assert_array_equal(training_indices(data, 5, 3, 20), seen[3])
    plain = source()
    np.testing.assert_array_equal(training_indices(plain, 5, 3, 20), batch_indices(5, 3, 200, 20))


def test_batches_of_the_loader_and_of_labelled_examples_alone():
    data = with_labels(source(), 30, per_batch=20)
    loader = BatchLoader(data, 0, 20, 4, make_mesh(1))
    assert (data.decode(loader.first_batch())["label"] >= 0).all()
    ((_, batches),) = loader.batches([(0, 4)])
    rows = loader.rows(loader.data, batches, jax.numpy.int32(2))
    got = data.decode(rows)["label"]
    np.testing.assert_array_equal(got, labels_of(data)[training_indices(data, 0, 2, 20)])
    assert (np.asarray(got) >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 2}, r"data.labels=2 is fewer than the 3 classes"),
        ({"count": 199}, r"data.labels=199 needs \d+ examples of class \d, but there are"),
    ],
)
def test_too_few_labels_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        with_labels(source(), **options)


def test_batches_that_cannot_be_filled_are_refused():
    with pytest.raises(ValueError, match="need labels, 'arrays' has none"):
        with_labels(from_arrays(np.ones((9, 2), np.float32)), 3)
    with pytest.raises(ValueError, match=r"=30 is more than train\.batch_size=20"):
        training_indices(with_labels(source(), 30, per_batch=30), 0, 0, 20)
    with pytest.raises(ValueError, match="no unlabelled examples"):
        training_indices(with_labels(source(), per_batch=7), 0, 0, 20)
