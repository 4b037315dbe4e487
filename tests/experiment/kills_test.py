"""Runs that are killed at random moments and resumed, equal uninterrupted ones, also while read.

`KILLS` is the number of kills of each run (default 5, 60 in all), `KILL_SEED` draws the moments,
`-k` picks families, as in `KILLS=3 pytest -m slow tests/experiment/kills_test.py -k vqvae`. Every
run must end with the files of the uninterrupted one, bit-for-bit. All the while another process
opens the directory with `load_run` and evaluates it; it may neither fail nor disturb the training.
"""

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
STEPS, KILLS = int(os.environ.get("KILL_STEPS", "120")), int(os.environ.get("KILLS", "5"))
COMMON = (
    f"--config.train.steps={STEPS} --config.train.batch_size=8 --config.train.steps_per_dispatch=4 "
    "--config.train.log_every=5 --config.train.checkpoint_every=10 --config.train.ema_decay=0.9 "
    "--config.sample.count=4 --config.mesh.data=1"
).split()
MLP = "--config.model.network.kind=mlp"
# Those of the other families are small as they are.
RUNS = {
    "beta_vae": [MLP],
    "iwae": ["--config.model.samples=2"],
    "cvae": [MLP],
    "factor_vae": [MLP, "--config.model.discriminator.hidden=(16,16)"],
    "hierarchical": ["--config.model.network.blocks=(1,1,1)", "--config.model.network.width=8"],
    "info_vae": [MLP],
    "sparse_vae": [MLP],
    "td_vae": [
        "--config.data.source=moving_sprites:length=6",
        *("--config.model.belief.size=8", "--config.model.features=8", "--config.model.hidden=8,"),
    ],
    "vae_gan": [
        "--config.model.network.channels=(8,8,8,8)",
        "--config.model.discriminator.channels=(8,8,8)",
    ],
    "vqvae": [
        "--config.second_stage.family=",
        "--config.data.binarize=dynamic",
        *("--config.model.quantizer.codes=16", "--config.model.quantizer.dim=4"),
        *("--config.model.network.hidden=8", "--config.model.network.downsamplings=2"),
    ],
    "sweep": [MLP, "--config.sweep.grid=players.vae.minimizes.kl=1,4"],
    "prior": [
        *("--config.model.network.width=16", "--config.model.network.layers=1"),
    ],
}
READER = """
import pathlib, sys, numpy as np, vaejax
workdir, seen = pathlib.Path(sys.argv[1]), set()
while not (workdir.parent / "stop").exists():
    try:
        run = vaejax.load_run(workdir, checkpoint="latest" if len(seen) % 2 else "best")
    except FileNotFoundError:  # before the first checkpoint
        continue
    seen.add(run.step)
    assert all(np.isfinite(np.asarray(a)).all() for a in __import__("jax").tree.leaves(run.params))
print(len(seen), "checkpoints read")
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts the training of a family in a working directory."""
    file = tmp_path / "tiny.npz"
    rng = np.random.RandomState(0)
    image = rng.rand(40, 16, 16, 1).astype(np.float32)
    np.savez(file, image=image, label=np.arange(40) % 3)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "VAEJAX_CACHE": str(tmp_path / "cache")}
    options = {"cwd": ROOT, "env": environment, "text": True}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def train(name, workdir):
        config = "beta_vae" if name == "sweep" else name
        flags = [f"--config=configs/{config}.py", f"--config.data.source=npz:{file}", *COMMON]
        if name == "prior":
            flags = [f"--config=configs/{config}.py", *COMMON]
            flags.append(f"--config.first_stage={tmp_path / 'first'}")
        command = [sys.executable, "-m", "vaejax.main", *flags, *RUNS[name], f"--workdir={workdir}"]
        return subprocess.Popen(command, **options, **pipes)

    def read(workdir):
        return subprocess.Popen([sys.executable, "-c", READER, str(workdir)], **options, **pipes)

    train.read = read
    return train


def finish(process):
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return out


def checkpoint_names(workdir):
    """The folders of checkpoints, including incomplete ones."""
    return {folder.name for folder in (workdir / "checkpoints").glob("*")}


def final_state(workdir):
    return ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(STEPS) / "state")


def assert_same_run(expected, actual):
    left, right = final_state(expected), final_state(actual)
    assert len(jax.tree.leaves(left)) > 10
    assert {"params", "ema", "step", "skipped", "total_skipped"} <= set(left)
    jax.tree.map(np.testing.assert_array_equal, left, right)
    files = ["metrics.jsonl", "config.json", "data.json", "fingerprint.json"]
    files += ["evaluation.json" if (expected / "evaluation.json").exists() else "sweep.json"]
    for name in files:
        assert (actual / name).read_bytes() == (expected / name).read_bytes(), name
    checksums = Path("checkpoints") / str(STEPS) / "checksums" / "metadata"
    left, right = (json.loads((w / checksums).read_text()) for w in (expected, actual))
    assert left == right
    assert not list((actual / "checkpoints").glob("*tmp*"))
    assert not (actual / "lock.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore:Sharding info not provided")
@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_equals_an_uninterrupted_one(start, tmp_path, name):
    if name == "prior":
        finish(start("vqvae", tmp_path / "first"))
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    finish(start(name, uninterrupted))

    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 2**32))
    print(f"KILL_SEED={seed}")
    rng = random.Random(seed)
    reader = None if name == "sweep" else start.read(killed)  # of which `load_run` opens no member
    for i in range(KILLS):
        before = checkpoint_names(killed)
        process = start(name, killed)
        # Every fifth is killed while it compiles, the others soon after a checkpoint.
        while process.poll() is None and i % 5 and checkpoint_names(killed) <= before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 2.0 if i % 5 == 0 else 0.3))
        process.kill()
        _, err = process.communicate()
        assert "error:" not in err, err
        print("killed with checkpoints", sorted(checkpoint_names(killed)))
    finish(start(name, killed))
    if reader:
        (tmp_path / "stop").touch()
        print(finish(reader))
    assert_same_run(uninterrupted, killed)
