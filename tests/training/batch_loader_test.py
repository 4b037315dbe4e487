"""The batches of streamed and of resident sources, against the source's rows."""

import dataclasses
import threading

import jax
import numpy as np
import pytest

from vaejax.core.sharding import make_mesh
from vaejax.data.batches import batch_indices
from vaejax.training.batch_loader import BatchLoader

SEED, BATCH, CAPACITY = 3, 8, 4
SPANS = [(0, 4), (4, 5), (5, 8)]


def loader_of(source, devices=1):
    return BatchLoader(source, SEED, BATCH, CAPACITY, make_mesh(devices))


def images_of_steps(loader, spans):
    """The stored images of every step, selected as in the compiled step."""
    rows = jax.jit(loader.rows)
    images = {}
    for (start, stop), batches in loader.batches(spans):
        for i in range(stop - start):
            images[start + i] = np.asarray(rows(loader.data, batches, np.int32(i))["image"])
    return images


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("devices", [1, 8])
def test_batches_are_rows_of_the_source(source, streamed, devices):
    loader = loader_of(source(streamed), devices)
    assert loader.resident is not streamed
    images = images_of_steps(loader, SPANS)
    assert list(images) == list(range(8))
    for step, image in images.items():
        expected = source().take(batch_indices(SEED, step, 40, BATCH))["image"]
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("streamed", [False, True])
def test_batches_are_padded_to_one_shape(source, streamed):
    loader = loader_of(source(streamed))
    by_span = dict(loader.batches(SPANS))
    name, shape = ("image", (8, 8, 1)) if streamed else ("index", ())
    assert all(b[name].shape == (CAPACITY, BATCH, *shape) for b in by_span.values())
    assert not np.asarray(by_span[4, 5][name][1:]).any()


def test_batches_do_not_depend_on_the_first_span(source):
    full, later = (images_of_steps(loader_of(source()), s) for s in (SPANS, SPANS[1:]))
    for step, image in later.items():
        np.testing.assert_array_equal(image, full[step])


def test_first_batch_is_batch_zero(source):
    first = loader_of(source()).first_batch()["image"]
    np.testing.assert_array_equal(first, images_of_steps(loader_of(source()), [(0, 1)])[0])


def count_reads(source):
    """The source, and the list of the indices read from it."""
    reads = []

    def take(indices):
        reads.append(indices)
        return source.take(indices)

    return dataclasses.replace(source, take=take), reads


def test_prefetching_is_limited(source):
    counted, reads = count_reads(source(streamed=True))
    batches = loader_of(counted).batches([(i, i + 1) for i in range(20)], prefetch=2)
    next(batches)
    batches.close()
    assert len(reads) <= 3


def pool_threads():
    return {t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")}


def test_closing_early_ends_the_thread(source):
    before = pool_threads()
    batches = loader_of(source(streamed=True)).batches([(i, i + 1) for i in range(20)])
    next(batches)
    assert len(pool_threads() - before) == 1
    batches.close()
    assert not pool_threads() - before


@pytest.mark.parametrize("failing", [0, 2, 5])
def test_an_error_in_reading_is_raised_for_its_span(source, failing):
    streamed = source(streamed=True)
    before, calls = pool_threads(), []

    def take(indices):
        calls.append(indices)
        if len(calls) > failing:
            raise OSError("the disk is gone")
        return streamed.take(indices)

    loader = loader_of(dataclasses.replace(streamed, take=take))
    batches = loader.batches([(i, i + 1) for i in range(6)])
    for _ in range(failing):
        next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert not pool_threads() - before
