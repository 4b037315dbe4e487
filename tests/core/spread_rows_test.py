"""Rows that the devices hold together: a batch gathered from them has the bits of the rows."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from vaejax.core.sharding import batch_sharding, make_mesh, put
from vaejax.core.spread_rows import SpreadRows

SIZE = 11


def rows():
    """Fields of every width, none of which but one fills whole words."""
    random = np.random.RandomState(0)
    vector = random.randn(SIZE, 3).astype(np.float32)
    vector[2] = np.nan, -0.0, np.inf
    return {
        "image": random.randint(256, size=(SIZE, 3, 5, 1)).astype(np.uint8),
        "mask": random.rand(SIZE, 7) < 0.5,
        "signal": random.randint(-(2**15), 2**15, size=(SIZE, 5)).astype(np.int16),
        "vector": vector,
        "label": random.randint(-1, 9, size=SIZE).astype(np.int32),
        "half": random.randn(SIZE, 1).astype(np.float16),
        "factors": random.randint(9, size=(SIZE, 2)),  # int64, which becomes int32
    }


@pytest.mark.parametrize("order", [range(8), (2, 0, 3, 1, 7, 6, 4, 5)])
def test_a_batch_has_the_bits_of_its_rows(order):
    stored, taken = rows(), []

    def take(indices):
        taken.append(indices)
        return {name: value[indices] for name, value in stored.items()}

    devices = np.array(make_mesh(8).devices).reshape(-1)[list(order)].reshape(2, 2, 2)
    mesh = Mesh(devices, ("data", "fsdp", "tensor"))
    spread = SpreadRows(take, SIZE, mesh)
    shards = {s.data.shape[0] for s in spread.words.addressable_shards}
    assert shards == {3}  # of 11 rows, on four devices
    index = np.array([10, 0, 3, 3, 7, 2, 9, 1], np.int32)
    batch = put(batch_sharding(mesh), {"index": index})["index"]
    found = jax.jit(spread.gather)(spread.words, batch)
    assert found.keys() == stored.keys()
    for name, value in stored.items():
        expected = value.astype(np.int32) if name == "factors" else value
        assert found[name].dtype == expected.dtype
        assert np.asarray(found[name]).tobytes() == expected[index].tobytes(), name
        assert found[name].sharding.is_equivalent_to(batch_sharding(mesh), found[name].ndim)
    assert np.concatenate(taken[1:]).tolist() == list(range(SIZE))  # each row once


def test_one_collective_moves_the_rows():
    mesh = make_mesh(4)
    spread = SpreadRows(functools.partial(_take, rows()), SIZE, mesh)
    index = put(batch_sharding(mesh), {"index": np.arange(8, dtype=np.int32)})["index"]
    text = jax.jit(spread.gather).lower(spread.words, index).compile().as_text()
    moved = [
        line for line in text.splitlines() if "reduce-scatter(" in line or "all-reduce(" in line
    ]
    assert len(moved) == 1


def _take(stored, indices):
    return {name: value[indices] for name, value in stored.items()}
