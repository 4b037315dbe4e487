"""A whole run in a bucket by the command: killed, resumed, evaluated, sampled from and loaded."""

import json
import os
import subprocess
import sys
import time

import fsspec
import numpy as np
import pytest

import vaejax
from tests.bucket_servers import serve
from tests.experiment.conftest import ROOT, TINY
from vaejax.core.paths import as_path

pytestmark = pytest.mark.slow
STEPS = 24


@pytest.fixture(scope="module", params=["gs", "s3"])
def bucket(request):
    with serve(request.param) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        fsspec.get_filesystem_class(request.param).clear_instance_cache()
        yield f"{request.param}://bucket"
        fsspec.get_filesystem_class(request.param).clear_instance_cache()


def start(folder, workdir, *arguments, steps=STEPS):
    small = [*TINY, f"--config.train.steps={steps}", "--config.train.eval_examples=16"]
    return subprocess.Popen(
        [sys.executable, "-m", "vaejax.main", *small, f"--workdir={workdir}", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process):
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    return out


def test_a_run_in_a_bucket_equals_one_in_a_folder(bucket, tmp_path):
    workdir, elsewhere = f"{bucket}/runs/first", tmp_path / "elsewhere"
    elsewhere.mkdir()
    local = start(elsewhere, tmp_path / "local")
    killed = start(elsewhere, workdir)
    deadline = time.time() + 300
    while not as_path(f"{workdir}/checkpoints/4/commit_success.txt").exists():
        assert time.time() < deadline
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.2)
    killed.kill()
    killed.communicate()
    assert as_path(f"{workdir}/lock.json").exists()
    finished(local)
    out = finished(start(elsewhere, workdir))  # takes the lock of the dead process over
    assert workdir in out

    records = [as_path(f"{w}/metrics.jsonl").read_text() for w in (workdir, tmp_path / "local")]
    assert records[0] == records[1]
    assert [json.loads(line)["step"] for line in records[0].splitlines()][-1] == STEPS
    names = {f.name for f in as_path(workdir).iterdir()}
    assert {"config.json", "evaluation.json", "figures", "tb", "checkpoints"} <= names
    assert "lock.json" not in names
    figure = as_path(f"{workdir}/figures/reconstructions.png").read_bytes()
    assert figure.startswith(b"\x89PNG")

    for mode in ("evaluate", "sample", "encode"):
        finished(start(elsewhere, workdir, f"--mode={mode}"))
    with as_path(f"{workdir}/latents.npz").open("rb") as file:
        latents = dict(np.load(file))
    run = vaejax.load_run(workdir)
    folder = vaejax.load_run(tmp_path / "local")
    assert run.step == folder.step == STEPS
    samples = [np.asarray(r.sample(2, seed=1)) for r in (run, folder)]
    np.testing.assert_array_equal(*samples)
    assert latents["mean"].shape[1] == 10 if "mean" in latents else latents
    assert not [*elsewhere.iterdir()]  # no local folder `gs:`


def test_a_bucket_that_does_not_exist_is_found_out_before_training(bucket, tmp_path):
    workdir = bucket.replace("//bucket", "//absent-bucket") + "/run"
    process = start(tmp_path, workdir)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 2
    name = bucket.replace("//bucket", "//absent-bucket")
    expected = f"error: cannot read {workdir}: the bucket {name} does not exist"
    assert err.strip().splitlines()[-1] == expected
