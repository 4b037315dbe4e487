"""The feed: streamed chunks against resident ones, both against the source's own rows."""

import dataclasses
import threading

import jax
import numpy as np
import pytest

from vaejax.core.sharding import make_mesh
from vaejax.data.batches import batch_indices
from vaejax.training.batch_loader import Feed

SEED, BATCH, CAPACITY = 3, 8, 4
SPANS = [(0, 4), (4, 5), (5, 8)]


def feed_of(source, devices=1):
    return Feed(source, SEED, BATCH, CAPACITY, make_mesh(devices))


def batches(feed, spans):
    """The stored images of every step, by way of what the compiled step calls."""
    rows = jax.jit(feed.rows)
    found = {}
    for (start, stop), chunk in feed.chunks(spans):
        for i in range(stop - start):
            found[start + i] = np.asarray(rows(feed.data, chunk, np.int32(i))["image"])
    return found


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("devices", [1, 8])
def test_batches_are_the_sources_rows(source, streamed, devices):
    feed = feed_of(source(streamed), devices)
    assert feed.resident is not streamed
    found = batches(feed, SPANS)
    assert list(found) == list(range(8))
    for step, image in found.items():
        wanted = source().take(batch_indices(SEED, step, 40, BATCH))["image"]
        np.testing.assert_array_equal(image, wanted)


@pytest.mark.parametrize("streamed", [False, True])
def test_chunks_are_padded_to_one_shape(source, streamed):
    feed = feed_of(source(streamed))
    chunks = dict(feed.chunks(SPANS))
    name, shape = ("image", (8, 8, 1)) if streamed else ("index", ())
    assert all(chunk[name].shape == (CAPACITY, BATCH, *shape) for chunk in chunks.values())
    assert not np.asarray(chunks[4, 5][name][1:]).any()


def test_where_the_spans_begin_changes_nothing(source):
    whole, late = (batches(feed_of(source()), spans) for spans in (SPANS, SPANS[1:]))
    for step, image in late.items():
        np.testing.assert_array_equal(image, whole[step])


def test_first_is_batch_zero(source):
    first = feed_of(source()).first()["image"]
    np.testing.assert_array_equal(first, batches(feed_of(source()), [(0, 1)])[0])


def counting(source):
    """The streamed source, and the list of what was read of it."""
    reads = []

    def take(indices):
        reads.append(indices)
        return source.take(indices)

    return dataclasses.replace(source, take=take), reads


def test_reads_ahead_but_not_everything(source):
    slow, reads = counting(source(streamed=True))
    chunks = feed_of(slow).chunks([(i, i + 1) for i in range(20)], ahead=2)
    next(chunks)
    chunks.close()
    assert len(reads) <= 3


def pool_threads():
    return {t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")}


def test_closing_early_ends_the_thread(source):
    before = pool_threads()
    chunks = feed_of(source(streamed=True)).chunks([(i, i + 1) for i in range(20)])
    next(chunks)
    assert len(pool_threads() - before) == 1
    chunks.close()
    assert not pool_threads() - before


@pytest.mark.parametrize("failing", [0, 2, 5])
def test_an_error_in_reading_surfaces_at_its_chunk(source, failing):
    whole = source(streamed=True)
    before, calls = pool_threads(), []

    def take(indices):
        calls.append(indices)
        if len(calls) > failing:
            raise OSError("the disk is gone")
        return whole.take(indices)

    chunks = feed_of(dataclasses.replace(whole, take=take)).chunks([(i, i + 1) for i in range(6)])
    for _ in range(failing):
        next(chunks)
    with pytest.raises(OSError, match="the disk is gone"):
        next(chunks)
    assert not pool_threads() - before
