"""Two processes with one device each against one process with two devices."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vaejax

ROOT = Path(vaejax.__file__).parent.parent
WORKER = """
import sys
import jax
import numpy as np

number, count, port, workdir, data, fsdp = sys.argv[1:]
if int(count) > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", int(count), int(number))
assert jax.process_count() == int(count)
assert jax.device_count() == 2

import configs.beta_vae
from pathlib import Path
from vaejax.experiment.run import run

config = configs.beta_vae.get_config().to_dict()
config["data"].update(source=f"npz:{data}", binarize="dynamic")
config["model"]["network"] = {"kind": "mlp", "hidden": (64,)}
config["mesh"] = {"data": -1, "fsdp": int(fsdp)}
config["sample"]["count"] = 4
for steps in (4, 8):  # the second resumes from the checkpoint of the first
    config["train"].update(
        steps=steps, batch_size=8, steps_per_dispatch=2, log_every=4, checkpoint_every=4
    )
    run(config, Path(workdir))
"""


def train(count, workdir, data, fsdp):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(2 // count)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, (i, count, port, workdir, data, fsdp))],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(count)
    ]
    try:
        for worker in workers:
            out, _ = worker.communicate(timeout=500)
            assert worker.returncode == 0, out
    finally:
        for worker in workers:
            worker.kill()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fsdp", [1, 2])
def test_two_processes_agree_with_one(tmp_path, fsdp):
    data = tmp_path / "tiny.npz"
    np.savez(data, image=np.random.RandomState(0).rand(40, 8, 8, 1).astype(np.float32))
    records = {}
    for count in (1, 2):
        workdir = tmp_path / str(count)
        train(count, workdir, data, fsdp)
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        records[count] = [json.loads(line) for line in lines]
        records[count].append(json.loads((workdir / "evaluation.json").read_text()))
        assert (workdir / "figures" / "samples.png").exists()
    steps = [(r["step"], r.get("split")) for r in records[2]]
    assert steps == [(4, "train"), (4, "eval"), (8, "train"), (8, "eval"), (8, None)]
    for single, double in zip(records[1], records[2], strict=True):
        assert single.keys() == double.keys()
        for name in single.keys() - {"split"}:
            np.testing.assert_allclose(double[name], single[name], rtol=1e-5, err_msg=name)
