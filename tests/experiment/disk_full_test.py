"""A full disk, or a limit on the size of files: one line with the path, and nothing is lost.

`DISK_FULL_SIZES`: sizes of the disk in KiB, so that it runs full at as many moments.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vaejax
from vaejax.export.safetensors import load_params
from vaejax.training.checkpoint_index import checkpoint_steps

ROOT = Path(vaejax.__file__).parents[1]
SIZES = [int(s) for s in os.environ.get("DISK_FULL_SIZES", "8,60,200,500,1100").split(",")]


# A process of its own sets the limit: a fork of this one, where JAX has threads, would warn.
LIMITED = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def execute():
    """Runs the command, maybe with a limit on the size of files; status, output and errors."""

    def run(*arguments, limit=None):
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        command = [sys.executable, "-m", "vaejax.main", *map(str, arguments)]
        if limit is not None:
            command = [sys.executable, "-c", LIMITED, str(limit), *command]
        options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
        done = subprocess.run(command, check=False, **options)
        return done.returncode, done.stdout, done.stderr

    return run


def assert_one_line(code, err, folder):
    assert code == 2, err
    lines = [line for line in err.splitlines() if line and "%|" not in line]
    assert len(lines) == 1, err
    assert lines[0].startswith(f"error: cannot write {folder}"), err
    assert "disk is full" in lines[0] or "limit on the size of files" in lines[0]


@pytest.fixture
def disk(tmp_path):
    """A function that mounts a disk of some KiB at the same place."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(kibibytes):
        option = (
            f"size={kibibytes}k" if not os.path.ismount(folder) else f"remount,size={kibibytes}k"
        )
        arguments = ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(folder)]
        if subprocess.run(arguments, capture_output=True, check=False).returncode:
            pytest.skip("mounting is not permitted")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_disk_that_is_full_at_several_moments(execute, data, disk):
    """It grows after each failure; the last command finishes what the first began."""
    reached = 0
    for size in SIZES:
        folder = disk(size)
        code, out, err = execute(*data, f"--workdir={folder / 'run'}")
        print(size, code, err.splitlines()[-1:] or out)
        if code == 0:
            break
        assert_one_line(code, err, folder)
        steps = checkpoint_steps(folder / "run" / "checkpoints")
        assert max(steps, default=0) >= reached
        reached = max(steps, default=0)
        assert not list((folder / "run").rglob("*.tmp*.png"))
    folder = disk(20_000)
    code, _, err = execute(*data, f"--workdir={folder / 'run'}")
    assert code == 0, err
    assert checkpoint_steps(folder / "run" / "checkpoints") == [2, 4]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_limit_on_the_size_of_files(execute, data, tmp_path):
    workdir = tmp_path / "run"
    for limit in (100, 1500, 20_000):  # of config.json, of records, of a checkpoint or figure
        code, _, err = execute(*data, f"--workdir={workdir}", limit=limit)
        print(limit, err)
        assert_one_line(code, err, tmp_path)
    code, _, err = execute(*data, f"--workdir={workdir}")
    assert code == 0, err
    assert execute(*data, f"--workdir={workdir}", "--mode=export")[0] == 0
    good = {f.name: f.read_bytes() for f in (workdir / "export").iterdir()}
    for mode in ("export", "evaluate"):
        code, _, err = execute(*data, f"--workdir={workdir}", f"--mode={mode}", limit=5000)
        assert_one_line(code, err, workdir)
        assert {f.name: f.read_bytes() for f in (workdir / "export").iterdir()} == good
    assert set(load_params(workdir / "export" / "params.safetensors")) == {"encoder", "decoder"}
    shutil.rmtree(workdir)
