"""One of two processes is killed at random moments; restarts end in the state of no kills.

`KILLS` is the number of kills (default 10), `KILL_SEED` draws the moments.
"""

import filecmp
import os
import random
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.training.processes import ROOT, commands, outputs
from vaejax.training.lost_process import lost_process

STEPS, KILLS = 60, int(os.environ.get("KILLS", "10"))
FLAGS = [
    "--config=configs/vqvae.py",
    *("--config.second_stage.family=", "--config.data.binarize=dynamic"),
    *("--config.model.quantizer.codes=16", "--config.model.quantizer.dim=4"),
    *("--config.model.network.hidden=8", "--config.model.network.downsamplings=2"),
    *(f"--config.train.steps={STEPS}", "--config.train.batch_size=8"),
    *("--config.train.steps_per_dispatch=2", "--config.train.log_every=2"),
    *("--config.train.checkpoint_every=4", "--config.train.ema_decay=0.9"),
    "--config.evaluate.figures=False",
]


def newest(workdir):
    """The step of the newest complete checkpoint; 0 without one."""
    names = [p.name for p in (workdir / "checkpoints").glob("*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def final_state(workdir):
    """The arrays of the last checkpoint, read in this process."""
    folder = workdir / "checkpoints" / str(STEPS) / "state"
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        like = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device),
            reader.metadata(folder).item_metadata.tree,
        )
        return reader.restore(folder, args=ocp.args.StandardRestore(like))


def finish(processes, folder):
    for process in processes:
        process.wait(500)
    assert not any(p.returncode for p in processes), outputs(folder, 2)


def kill_one(processes, folder, workdir, moments):
    """Kills one of two processes once both have joined; returns what the other printed last."""
    start, log = newest(workdir), workdir / "logs" / "process-1.txt"
    deadline, saved = time.monotonic() + 400, moments.random() < 0.7
    while not (newest(workdir) > start if saved else log.exists()):
        assert all(p.poll() is None for p in processes), outputs(folder, 2)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(moments.uniform(0, 1 if saved else 6))
    victim = moments.randrange(2)
    if any(p.poll() is not None for p in processes):
        return None
    processes[victim].kill()
    begin = time.monotonic()
    assert processes[1 - victim].wait(75) != 0
    assert time.monotonic() - begin < 60
    text = outputs(folder, 2)[0] if victim == 1 else log.read_text()
    return text.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_killed_process_changes_nothing(tmp_path):
    np.savez(tmp_path / "tiny.npz", image=np.random.RandomState(0).rand(40, 8, 8, 1) < 0.5)
    flags = [*FLAGS, f"--config.data.source=npz:{tmp_path / 'tiny.npz'}"]
    expected, workdir = tmp_path / "expected", tmp_path / "killed"
    with commands(2, [*flags, f"--workdir={expected}"], tmp_path) as processes:
        finish(processes, tmp_path)
    moments = random.Random(os.environ.get("KILL_SEED", "0"))
    last_lines = []
    for _ in range(KILLS):
        (workdir / "logs" / "process-1.txt").unlink(missing_ok=True)
        with commands(2, [*flags, f"--workdir={workdir}"], tmp_path) as processes:
            last_lines.append(kill_one(processes, tmp_path, workdir, moments))
    with commands(2, [*flags, f"--workdir={workdir}"], tmp_path) as processes:
        finish(processes, tmp_path)
    killed = [line for line in last_lines if line]
    assert len(killed) >= KILLS // 2
    assert all("another process of this run has ended" in line for line in killed), killed
    states = [final_state(folder) for folder in (expected, workdir)]
    assert len(jax.tree.leaves(states[0])) > 10
    jax.tree.map(np.testing.assert_array_equal, *states)
    for name in ("metrics.jsonl", "evaluation.json"):
        assert filecmp.cmp(expected / name, workdir / name, shallow=False), name


def test_errors_of_a_lost_process():
    text = "UNKNOWN: Gloo AllGather failed: Connection closed by peer"
    for error in (jax.errors.JaxRuntimeError(text), ValueError(text)):
        assert "another process of this run has ended" in lost_process(error)
    assert lost_process(ValueError("train.steps must be positive")) is None
    assert lost_process(OSError("Connection reset by peer")) is None


def test_an_abort_ends_with_a_line():
    code = "from vaejax.training.lost_process import report_abort; import os; report_abort()"
    command = [sys.executable, "-c", f"{code}; os.abort()"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "another process of this run has ended" in ended.stderr.splitlines()[-1]


def test_an_error_of_reading_that_the_loss_has_caused():
    try:
        try:
            raise jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Connection reset")
        except jax.errors.JaxRuntimeError:
            raise OSError("checkpoint 20 cannot be read; delete it") from None
    except OSError as error:
        line = lost_process(error)
    assert line is not None
    assert "another process of this run has ended" in line
    assert "delete" not in line
