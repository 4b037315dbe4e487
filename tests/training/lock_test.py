"""One training at a time in a working directory; the lock of a dead process is taken over."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from vaejax.training import lock as module
from vaejax.training import lock_holder
from vaejax.training.lock import (
    LockedError,
    check_held,
    check_unlocked,
    lock,
    release_all,
    workdir_locks,
)


@pytest.fixture(autouse=True)
def _released():
    yield
    release_all()


@pytest.fixture
def holder(tmp_path):
    """A process that could hold a lock, and a function that writes its lock file."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    def write(**changes):
        content = {
            "host": socket.gethostname(),
            "process": process.pid,
            "process_start": lock_holder._start_of(process.pid),
            "system": lock_holder._system(),
            "time": "2026-01-02 03:04:05",
            "token": "other",
        }
        (tmp_path / "lock.json").write_text(json.dumps(content | changes))

    write.process = process
    yield write
    process.kill()
    process.communicate()


def names(folder):
    return sorted(f.name for f in folder.iterdir())


def test_the_lock_is_removed_at_the_end(tmp_path):
    workdir = tmp_path / "new" / "run"
    with workdir_locks():
        lock(workdir)
        content = json.loads((workdir / "lock.json").read_text())
        assert (content["host"], content["process"]) == (socket.gethostname(), os.getpid())
        with workdir_locks():
            lock(workdir)  # `fit` inside `run`
        assert names(workdir) == ["lock.json"]
        check_unlocked(workdir)
        check_held(workdir)
    assert names(workdir) == []


def test_the_second_training_gets_host_and_process_of_the_first(tmp_path, holder):
    holder()
    before = (tmp_path / "lock.json").read_bytes()
    for attempt in (check_unlocked, lock):
        with pytest.raises(LockedError) as caught:
            attempt(tmp_path)
        message = str(caught.value)
        assert f"process {holder.process.pid} on host {socket.gethostname()}" in message
        assert "\n" not in message
    assert (names(tmp_path), (tmp_path / "lock.json").read_bytes()) == (["lock.json"], before)


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path, holder):
    holder()
    holder.process.kill()
    holder.process.wait()
    check_unlocked(tmp_path)
    lock(tmp_path)
    assert json.loads((tmp_path / "lock.json").read_text())["process"] == os.getpid()
    assert names(tmp_path) == ["lock.json"]


def test_a_later_process_of_the_same_number_is_another(tmp_path, holder):
    holder(process_start="1")
    lock(tmp_path)
    assert json.loads((tmp_path / "lock.json").read_text())["process"] == os.getpid()


@pytest.mark.parametrize("content", [{"host": "elsewhere", "system": "another boot"}, None])
def test_on_another_host_the_time_of_the_last_renewal_counts(tmp_path, holder, content):
    """The same holds for a file that cannot be understood: its writer may be at it."""
    holder(**(content or {}))
    path = tmp_path / "lock.json"
    if content is None:
        path.write_text("")
    with pytest.raises(LockedError, match="elsewhere" if content else "host unknown"):
        lock(tmp_path)
    os.utime(path, (time.time() - lock_holder.GONE_SECONDS - 60,) * 2)
    lock(tmp_path)
    assert json.loads(path.read_text())["process"] == os.getpid()


# They try at once, when the last one has started and the other end of the pipe is closed.
THREE_PROCESSES = """\
import os, pathlib, sys
from vaejax.training import lock

start, end = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.close(end)
        os.read(start, 1)
        try:
            lock.lock(pathlib.Path(sys.argv[1]))
            os.write(1, b"won\\n")
        except lock.LockedError:
            os.write(1, b"lost\\n")
        sys.stdin.read()
        sys.exit()
os.close(end)
for _ in range(3):
    os.wait()
"""


def test_of_many_that_take_over_one_wins(tmp_path, holder):
    holder()
    holder.process.kill()
    holder.process.wait()
    arguments = [sys.executable, "-W", "ignore", "-c", THREE_PROCESSES, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(arguments, **pipes)
    results = sorted(process.stdout.readline().strip() for _ in range(3))
    process.communicate()  # the winner holds it until all have tried
    assert results == ["lost", "lost", "won"]
    assert names(tmp_path) == []


def test_threads_are_kept_apart_too(tmp_path):
    lock(tmp_path)
    caught = []

    def attempt():
        try:
            lock(tmp_path)
        except LockedError as error:
            caught.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "another thread" in caught[0]


def test_a_suspended_process_notices_that_its_lock_was_taken_over(tmp_path, holder):
    lock(tmp_path)
    holder()
    with pytest.raises(LockedError, match=f"process {holder.process.pid} "):
        check_held(tmp_path)
    release_all()
    assert names(tmp_path) == ["lock.json"]  # the other's


def test_it_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.01)
    lock(tmp_path)
    path = tmp_path / "lock.json"
    os.utime(path, (1.0, 1.0))
    deadline = time.monotonic() + 10
    while path.stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.stat().st_mtime > 2
