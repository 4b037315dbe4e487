"""A run that is killed repeatedly and resumed, against an uninterrupted run."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import vaejax

ROOT = Path(vaejax.__file__).parent.parent
STEPS, KILLS = 600, 10
FLAGS = (
    f"--config=configs/vqvae.py --config.train.steps={STEPS} --config.train.batch_size=8 "
    "--config.train.steps_per_dispatch=4 --config.train.log_every=5 "
    "--config.train.checkpoint_every=10 --config.train.ema_decay=0.9 "
    "--config.data.binarize=dynamic "
    "--config.model.quantizer.codes=16 --config.model.quantizer.dim=4 "
    "--config.model.network.hidden=8 --config.model.network.downsamplings=2 --config.sample.count=4"
).split()


@pytest.fixture
def start(tmp_path):
    """A function that starts the training in a working directory."""
    file = tmp_path / "tiny.npz"
    np.savez(file, image=np.random.RandomState(0).rand(40, 8, 8, 1).astype(np.float32))
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "VAEJAX_CACHE": str(tmp_path / "cache")}

    def run(workdir):
        flags = [*FLAGS, f"--config.data.source=npz:{file}", f"--workdir={workdir}"]
        return subprocess.Popen(
            [sys.executable, "-m", "vaejax.main", *flags],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def finish(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


def checkpoint_names(workdir):
    """The folders of checkpoints, including incomplete ones."""
    return {folder.name for folder in (workdir / "checkpoints").glob("*")}


def final_state(workdir):
    return ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(STEPS) / "state")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:Sharding info not provided")
def test_a_run_killed_ten_times_equals_an_uninterrupted_one(start, tmp_path):
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    finish(start(uninterrupted))

    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 2**32))
    print(f"KILL_SEED={seed}")
    rng = random.Random(seed)
    for i in range(KILLS):
        before = checkpoint_names(killed)
        process = start(killed)
        # Every fifth is killed while it compiles, the others soon after a checkpoint.
        while process.poll() is None and i % 5 and checkpoint_names(killed) <= before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 2.0))
        process.kill()
        process.communicate()
        print("killed with checkpoints", sorted(checkpoint_names(killed)))
    assert max(int(name) for name in checkpoint_names(killed) if name.isdigit()) < STEPS
    finish(start(killed))

    expected, actual = final_state(uninterrupted), final_state(killed)
    assert len(jax.tree.leaves(expected)) > 20
    assert {"params", "opt_state", "ema", "step", "skipped"} == set(expected)
    jax.tree.map(np.testing.assert_array_equal, expected, actual)
    for name in ("metrics.jsonl", "evaluation.json", "config.json"):
        assert (killed / name).read_bytes() == (uninterrupted / name).read_bytes()
    checksums = Path("checkpoints") / str(STEPS) / "checksums" / "metadata"
    assert json.loads((killed / checksums).read_text()) == json.loads(
        (uninterrupted / checksums).read_text()
    )
    assert not list((killed / "checkpoints").glob("*tmp*"))
