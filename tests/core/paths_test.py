"""Locations in folders and in buckets; the servers are stand-ins on this machine."""

import importlib
import json
import os
import threading
from pathlib import Path

import fsspec
import pytest

from tests.bucket_servers import PACKAGES, serve
from vaejax.core import paths
from vaejax.core.append import AppendedFile
from vaejax.core.files import WriteError, read_json, replacing, write_files, write_json
from vaejax.core.paths import as_path, check_reachable, is_bucket, local_copies, remove_tree
from vaejax.training import lock as locks
from vaejax.training import lock_holder
from vaejax.training.lock import LockedError, check_held, lock, workdir_locks
from vaejax.training.logging import Log, read_records


def test_a_folder_is_a_path_of_pathlib(tmp_path):
    assert as_path(str(tmp_path)) == tmp_path
    assert type(as_path("runs/first")) is type(Path())
    assert not is_bucket(tmp_path)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("az://container/run", "give a folder, gs://BUCKET/FOLDER or s3://BUCKET/FOLDER"),
        ("http://host/run", "give a folder"),
        ("gs://", "names no bucket"),
        ("s3:/", "names no bucket"),
    ],
)
def test_other_locations_are_refused(location, words):
    with pytest.raises(ValueError, match=words):
        as_path(location)


@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcs"), ("s3", "s3")])
def test_a_missing_package_is_one_line_with_the_extra(scheme, extra, monkeypatch):
    real = importlib.import_module

    def missing(name):
        if name == PACKAGES[scheme][0]:
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(paths.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=rf"pip install 'vaejax\[{extra}\]'"):
        as_path(f"{scheme}://bucket/run")


@pytest.fixture(scope="module", params=["gs", "s3"])
def bucket(request):
    """A folder in an empty bucket."""
    with serve(request.param) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        fsspec.get_filesystem_class(request.param).clear_instance_cache()
        yield as_path(f"{request.param}://bucket")
        fsspec.get_filesystem_class(request.param).clear_instance_cache()


@pytest.fixture
def folder(bucket, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield bucket / request.node.name.partition("[")[0]
    assert not [*tmp_path.iterdir()]  # no local folder `gs:`


def test_one_slash_of_pathlib_is_the_same_bucket(folder):
    assert as_path(Path(str(folder))) == folder == as_path(f"{folder}/")
    assert os.fspath(folder).startswith(("gs://bucket/", "s3://bucket/"))


def test_files_are_written_and_read(folder):
    check_reachable(folder)
    assert not folder.exists()
    write_json(folder / "config.json", {"a": float("nan")})
    with replacing(folder / "figure.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"image")
    write_files(folder / "deep", {"one": b"1", "two": b"2"})
    assert read_json(folder / "config.json") == {"a": None}
    assert (folder / "figure.png").read_bytes() == b"image"
    assert sorted(f.name for f in folder.glob("*")) == ["config.json", "deep", "figure.png"]
    with local_copies([folder / "figure.png"]) as copies:
        assert [c.read_bytes() for c in copies] == [b"image"]
        assert copies[0].name == "figure.png"
    remove_tree(folder / "deep")
    assert not (folder / "deep").exists()


def test_a_failed_block_leaves_the_object_as_it_was(folder):
    write_json(folder / "a.json", {"a": 1})

    def fail():
        with replacing(folder / "a.json") as temporary:
            temporary.write_bytes(b"half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert read_json(folder / "a.json") == {"a": 1}


def test_records_are_complete_after_a_flush_and_after_a_resume(folder):
    log = Log(folder, 0)
    log.write(2, "train", {"nll": 3.0})
    log.flush()
    log.write(4, "train", {"nll": 2.0})
    assert [r["step"] for r in read_records(folder / "metrics.jsonl")] == [2]
    log.close()
    assert [r["step"] for r in read_records(folder / "metrics.jsonl")] == [2, 4]
    Log(folder, 2).close()
    assert [r["step"] for r in read_records(folder / "metrics.jsonl")] == [2]
    assert len([*(folder / "tb").glob("events*")]) == 2


def test_appending_keeps_what_is_there(folder):
    (folder / "log.txt").write_bytes(b"first\n")
    file = AppendedFile(folder / "log.txt")
    file.write("zweite, ß\n")
    file.flush()
    file.close()
    assert (folder / "log.txt").read_bytes().decode() == "first\nzweite, ß\n"


def test_one_training_holds_the_lock(folder, monkeypatch):
    with workdir_locks():
        lock(folder)
        content = read_json(folder / locks.FILE)
        assert content["process"] == os.getpid()
        check_held(folder)
        other = {**content, "token": "other", "system": "other", "host": "far"}
        (folder / locks.FILE).write_bytes(json.dumps(other).encode())
        with pytest.raises(LockedError, match="host far"):
            check_held(folder)
    assert (folder / locks.FILE).exists()  # the other's
    with workdir_locks(), pytest.raises(LockedError, match="host far"):
        lock(folder)
    monkeypatch.setattr(lock_holder, "GONE_SECONDS", -10.0)
    with workdir_locks():
        lock(folder)
    assert not (folder / locks.FILE).exists()


def test_of_many_that_lock_at_once_one_succeeds(folder):
    results = []

    def attempt():
        with workdir_locks():
            try:
                lock(folder)
                results.append("locked")
                done.wait(20)
            except LockedError:
                results.append("refused")

    done = threading.Event()
    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(results) < 4 and any(t.is_alive() for t in threads):
        threads[0].join(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["locked", "refused", "refused", "refused"]


def test_a_bucket_that_does_not_exist_is_one_line(bucket):
    missing = as_path(str(bucket).replace("bucket", "absent-bucket")) / "run"
    with pytest.raises(OSError, match=r"cannot read .*: the bucket .*absent-bucket does not exist"):
        check_reachable(missing)
    with pytest.raises(WriteError, match=r"cannot write .*absent-bucket/run/lock\.json"):
        lock(missing)
