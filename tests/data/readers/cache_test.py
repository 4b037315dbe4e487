"""The cache of decoded rows: round trip, damaged files, folders that cannot be written."""

import numpy as np
import pytest

from vaejax.data.readers import cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {
            "image": np.arange(3 * 5 * 7, dtype=np.uint8).reshape(3, 5, 7),
            "label": np.array([4, -1, 2], np.int32),
            "scalar": np.array(0.5),
        }


def assert_rows_equal(rows):
    for field, value in Builder()().items():
        np.testing.assert_array_equal(rows[field], value)
        assert rows[field].dtype == value.dtype


def test_rows_are_built_once(folder):
    build = Builder()
    for _ in range(3):
        assert_rows_equal(cache.load_or_build("some", build))
    assert build.calls == 1
    assert [file.name for file in folder.iterdir()] == ["some.rows"]


@pytest.mark.parametrize("position", [0, 9, 13, 40, 200, -1])
def test_an_altered_file_is_rebuilt(folder, position, caplog):
    build = Builder()
    cache.load_or_build("some", build)
    content = bytearray((folder / "some.rows").read_bytes())
    content[position] ^= 16
    (folder / "some.rows").write_bytes(content)
    assert_rows_equal(cache.load_or_build("some", build))
    assert build.calls == 2
    assert "damaged" in caplog.text
    assert_rows_equal(cache.load_or_build("some", build))
    assert build.calls == 2


@pytest.mark.parametrize("length", [0, 5, 16, 100, -1])
def test_a_truncated_file_is_rebuilt(folder, length):
    build = Builder()
    cache.load_or_build("some", build)
    content = (folder / "some.rows").read_bytes()
    (folder / "some.rows").write_bytes(content[:length])
    assert_rows_equal(cache.load_or_build("some", build))
    assert build.calls == 2


def test_an_interrupted_write_leaves_no_file(folder, monkeypatch):
    def interrupted(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache.Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.load_or_build("some", Builder())
    assert list(folder.iterdir()) == []


def test_rows_are_returned_if_the_folder_cannot_be_created(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "file" / "cache"))
    assert_rows_equal(cache.load_or_build("some", Builder()))
    assert "cannot write the cache" in caplog.text


def test_the_folder_follows_the_environment_variables(monkeypatch, tmp_path):
    monkeypatch.delenv("VAEJAX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_dir() == tmp_path / "vaejax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_dir() == tmp_path / ".cache" / "vaejax"
