"""Files are written aside and renamed; what cannot be written is one line with the path."""

import errno
import json
import math
import os
import resource
import time

import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core.files import (
    WriteError,
    replacing,
    write_bytes,
    write_files,
    write_json,
    write_text,
)


def names(folder):
    return sorted(f.name for f in folder.iterdir())


LIMIT = 2**25  # far more than the log of the tests, which may be a file too


@pytest.fixture
def small_files():
    """Files may not exceed the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_json_has_neither_nan_nor_infinity(tmp_path):
    value = {"a": math.nan, "b": [1.0, -math.inf, {"c": np.float32("inf")}], "d": np.int32(3)}
    write_json(tmp_path / "a.json", value | {"e": jnp.array([1.0, jnp.nan]), "f": (True, None)})

    def refuse(constant):
        raise AssertionError(constant)

    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=refuse) == {
        "a": None,
        "b": [1.0, None, {"c": None}],
        "d": 3,
        "e": [1.0, None],
        "f": [True, None],
    }
    assert names(tmp_path) == ["a.json"]


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path, small_files):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(WriteError) as caught:
        write_bytes(path, bytes(LIMIT + 1))
    assert str(caught.value) == (
        f"cannot write {path}: the file would exceed the limit on the size of files (ulimit -f)"
    )
    assert caught.value.errno == errno.EFBIG
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["a.bin"])


def test_files_that_belong_together_are_replaced_together(tmp_path, small_files):
    write_files(tmp_path / "new", {"a": b"1", "b": b"1"})
    with pytest.raises(WriteError, match=r"cannot write .*new/b: "):
        write_files(tmp_path / "new", {"a": b"2", "b": bytes(LIMIT + 1)})
    contents = {f.name: f.read_bytes() for f in (tmp_path / "new").iterdir()}
    assert contents == {"a": b"1", "b": b"1"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_every_error_of_the_system_is_one_line_with_the_path(tmp_path, number):
    path = tmp_path / "a.txt"

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(WriteError) as caught, replacing(path) as temporary:
        fail(temporary)
    assert str(caught.value).startswith(f"cannot write {path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.errno == number
    assert names(tmp_path) == []


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteError, match=r"cannot write .*file/a\.txt: a part of the path is a fi"):
        write_text(tmp_path / "file" / "a.txt", "text")
    with pytest.raises(WriteError, match="a file is in the place of a folder"):
        write_files(tmp_path / "file", {"a": b""})


def test_temporary_files_of_killed_processes_are_removed(tmp_path):
    old, new = tmp_path / ".a.1.tmp.txt", tmp_path / ".a.2.tmp.txt"
    old.write_text("half")
    new.write_text("of a process that writes at this moment")
    os.utime(old, (time.time() - 3600,) * 2)
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == [new.name, "a.txt"]
