"""What a process may hold: rows in memory up to its share, mapped files above it."""

import jax
import numpy as np
import pytest
import scipy.sparse

from vaejax import data
from vaejax.data import row_storage
from vaejax.data.standardize import standardization
from vaejax.data.validation import split_off
from vaejax.data.values import range_of

ARRAYS = {
    "vectors": np.random.RandomState(0).randn(40, 6) + np.arange(6),  # float64
    "labels": np.arange(40) % 3,
}


@pytest.fixture
def in_four_processes(monkeypatch):
    """As if three others had joined."""
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_count", lambda: 4)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_share_of_a_process(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 1 / 0)  # would initialise the devices
    assert row_storage.process_share(100) == 100
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    assert row_storage.process_share(100) == 25


def test_rows_on_disk_are_equal_and_leave_no_file(cache):
    rows = {"image": np.random.RandomState(0).rand(9, 4, 4), "empty": np.zeros((9, 0))}
    moved = row_storage.on_disk(rows)
    for _ in range(2):
        for name, value in rows.items():
            np.testing.assert_array_equal(moved[name], value)
        row_storage.release(moved)
    assert isinstance(moved["image"], np.memmap)
    assert not list(cache.iterdir())
    again = row_storage.on_disk({"part": np.asarray(moved["image"])[2:]})
    assert np.shares_memory(again["part"], moved["image"])  # it is mapped already


def test_a_private_mapping_keeps_what_was_written(tmp_path):
    np.save(tmp_path / "some.npy", np.zeros(4096))
    private = np.load(tmp_path / "some.npy", mmap_mode="c")
    private[:] = 1
    row_storage.release({"": private})
    assert private.sum() == 4096


def test_rows_stay_in_memory_if_there_is_no_disk(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "file" / "cache"))
    rows = {"image": np.ones((3, 2))}
    assert row_storage.on_disk(rows)["image"] is rows["image"]
    assert "stay in memory" in caplog.text


# Bytes of the training split: 36 rows of six float32 and a label.
@pytest.mark.parametrize(("limit", "spread"), [(4 * 36 * 28, False), (4 * 36 * 28 - 4, True)])
@pytest.mark.usefixtures("in_four_processes", "cache")
def test_a_source_above_the_share_of_a_process(limit, spread):
    whole = data.from_arrays(ARRAYS)
    source = data.from_arrays(ARRAYS, max_resident_bytes=limit)
    assert (source.spread, source.arrays is None) == (spread, spread)
    assert not data.from_arrays(ARRAYS, max_resident_bytes=36 * 28 - 1).spread  # streamed
    assert split_off(source, 0.25, "train").spread == spread
    for field, value in source.take(np.array([3, 0, 3])).items():
        np.testing.assert_array_equal(value, whole.take(np.array([3, 0, 3]))[field])


@pytest.mark.usefixtures("cache")
def test_statistics_are_those_of_all_rows(monkeypatch, request):
    from vaejax.data import values

    monkeypatch.setattr(values, "_SAMPLE", 5)
    images = {"images": (np.arange(40 * 16) % 250).reshape(40, 4, 4).astype(np.uint8)}
    whole = [data.from_arrays(arrays) for arrays in (ARRAYS, images)]
    request.getfixturevalue("in_four_processes")
    spread = [data.from_arrays(arrays, max_resident_bytes=1100) for arrays in (ARRAYS, images)]
    assert [source.spread for source in spread] == [True, True]
    for source, other, field in zip(spread, whole, ("vector", "image"), strict=True):
        assert range_of(source, field) == range_of(other, field)
        assert range_of(source, field).exact
    units, expected = (standardization(sources[0])["vector"] for sources in (spread, whole))
    np.testing.assert_array_equal(units.shift, expected.shift)
    np.testing.assert_array_equal(units.scale, expected.scale)


@pytest.mark.usefixtures("cache")
def test_a_sparse_matrix_above_the_share_is_mapped(request):
    dense = np.random.RandomState(0).rand(30, 8) * (np.random.RandomState(1).rand(30, 8) < 0.3)
    arrays = {"vector": scipy.sparse.csr_array(dense.astype(np.float32)), "label": np.arange(30)}
    expected = data.from_arrays(arrays)
    request.getfixturevalue("in_four_processes")
    source = data.from_arrays(arrays, max_resident_bytes=1000)
    assert isinstance(source.sparse.vector.values, np.memmap)
    assert not isinstance(expected.sparse.vector.values, np.memmap)
    assert isinstance(source.sparse.rest["label"], np.memmap)
    for field, value in source.take(np.arange(27)).items():
        np.testing.assert_array_equal(value, expected.take(np.arange(27))[field])
    for one, other in zip(*(standardization(s)["vector"] for s in (source, expected)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.usefixtures("in_four_processes", "cache")
def test_files_are_mapped(tmp_path, save):
    arrays = {
        "images": np.random.RandomState(0).rand(20, 6, 6) < 0.5,
        "factors": np.asfortranarray(np.arange(40).reshape(20, 2)),
        "labels": np.arange(20) % 3,
    }
    save(tmp_path / "some.npz", **arrays)
    source = data.load(f"npz:{tmp_path}/some.npz", "train", max_resident_bytes=1000)
    assert source.spread
    expected = data.from_arrays(arrays).take(np.arange(18))
    for field, value in source.take(np.arange(18)).items():
        np.testing.assert_array_equal(value, expected[field])
        assert value.dtype == expected[field].dtype


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.usefixtures("in_four_processes", "cache")
def test_a_damaged_mapped_file_is_refused(tmp_path, save):
    file = tmp_path / "damaged.npz"
    save(file, images=np.random.RandomState(0).rand(20, 6, 6))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*damaged\.npz"):
        data.load(f"npz:{file}", max_resident_bytes=1000)


@pytest.mark.usefixtures("in_four_processes", "cache")
def test_rendered_images_are_mapped():
    expected = data.load("sprites:small", "eval")
    source = data.load("sprites:small", "eval", max_resident_bytes=3 * 2**20)
    assert (source.spread, expected.spread) == (True, False)
    indices = np.array([0, 77, source.size - 1])
    for field, value in source.take(indices).items():
        np.testing.assert_array_equal(value, expected.take(indices)[field])
