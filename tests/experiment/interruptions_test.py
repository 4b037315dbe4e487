"""SIGTERM and Ctrl-C at any moment: one line, exit status 143 or 130, nothing lost.

`INTERRUPTIONS` moments of each signal and mode (default 10), drawn with `INTERRUPTION_SEED`.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vaejax
from vaejax.training.checkpoint_index import checkpoint_steps

MOMENTS = int(os.environ.get("INTERRUPTIONS", "10"))
SEED = int(os.environ.get("INTERRUPTION_SEED", "0"))
ENDLESS = ("--config.train.steps=10000000", "--config.train.log_every=20")


def assert_one_line(out, err, code, number):
    """What a process that got a signal printed and returned."""
    assert code == 128 + number, (code, out, err)
    assert "Traceback" not in err
    assert "Exception" not in err
    if "Stopped at step" in out:  # saved; the progress line is on stderr
        assert out.count("Stopped at step") == 1
        return
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert "stopped by" in errors[0]


def interrupt(process, number, seconds):
    """Sends a signal after some time; returns output and status."""
    time.sleep(seconds)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return out, err, process.returncode


def file_size(path):
    return path.stat().st_size if path.exists() else 0


def assert_resumable(workdir):
    """No lock or temporary file is left, and every file is whole."""
    if not workdir.exists():
        return
    left = [p.name for p in workdir.rglob("*") if p.name == "lock.json" or ".tmp" in p.suffixes]
    assert left == []
    for path in workdir.glob("*.json"):
        json.loads(path.read_text())
    if (workdir / "metrics.jsonl").exists():
        for line in (workdir / "metrics.jsonl").read_bytes().splitlines():
            json.loads(line)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_at_any_moment(start, data, tmp_path, number):
    rng, workdir, reached = random.Random(SEED), tmp_path / "run", 0
    for i in range(MOMENTS):
        arguments = [*data, *ENDLESS, "--config.train.checkpoint_every=200"]
        process = start([*arguments, f"--workdir={workdir}"])
        size = file_size(workdir / "metrics.jsonl")
        while i % 2 and file_size(workdir / "metrics.jsonl") <= size:  # until it trains
            assert process.poll() is None
            time.sleep(0.05)
        out, err, code = interrupt(process, number, (2.0 if i % 2 else 8.0) * rng.random())
        assert_one_line(out, err, code, number)
        assert_resumable(workdir)
        steps = checkpoint_steps(workdir / "checkpoints") if workdir.exists() else []
        assert max(steps, default=0) >= reached
        reached = max(steps, default=0)
        if "Stopped" in out:
            assert f"Stopped at step {reached} and saved" in out
        assert "Stopped" in out or not i % 2
    assert reached > 0


@pytest.fixture(scope="module")
def trained(command, data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained") / "run"
    code, _, err = command(*data, "--config.evaluate.figures=False", f"--workdir={workdir}")
    assert code == 0, err
    return workdir


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", ["evaluate", "sample", "export"])
def test_another_mode_at_any_moment(start, data, trained, tmp_path, mode):
    rng = random.Random(SEED)
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    for i in range(MOMENTS):
        number = (signal.SIGTERM, signal.SIGINT)[i % 2]
        process = start([*data, f"--workdir={workdir}", f"--mode={mode}"])
        out, err, code = interrupt(process, number, 12.0 * rng.random())
        if code == 0:  # it was faster
            continue
        assert_one_line(out, err, code, number)
        assert_resumable(workdir)
        assert checkpoint_steps(workdir / "checkpoints") == [2, 4]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_the_package_is_imported(number):
    """The signal arrives with the first import of JAX, before the command runs at all."""
    site = (
        "import builtins, os\n"
        "real = builtins.__import__\n"
        "def patched(name, *args, **kwargs):\n"
        "    if name == 'jax':\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "    return real(name, *args, **kwargs)\n"
        "builtins.__import__ = patched\n"
        "import runpy, sys\n"
        "sys.argv = ['-m', '--mode=train']\n"
        "sys.orig_argv = ['python', '-m', 'vaejax.main']\n"
        "runpy.run_module('vaejax.main', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", site],
        capture_output=True,
        text=True,
        cwd=Path(vaejax.__file__).parents[1],
        check=False,
    )
    assert (done.returncode, done.stdout) == (128 + number, "")
    line = f"error: stopped by {signal.Signals(number).name} before anything was read or written\n"
    assert done.stderr == line
