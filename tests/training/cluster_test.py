"""Which launchers are found, what is refused, and one run started in the ways of each."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import vaejax
from vaejax.training import cluster
from vaejax.training.checkpoint_index import checkpoint_steps
from vaejax.training.cluster import find_launcher, join, processes_by_environment

ROOT = Path(vaejax.__file__).parent.parent
SLURM = {
    **{"SLURM_JOB_ID": "31", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost"},
    **{"SLURM_STEP_NUM_NODES": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"},
    **{"SLURM_PROCID": "1", "SLURM_LOCALID": "1"},
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
    **{"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
}


@pytest.mark.parametrize(
    ("environment", "name", "joins"),
    [
        (SLURM, "SLURM", True),
        (OPEN_MPI, "Open MPI", True),
        ({k: v for k, v in OPEN_MPI.items() if "uri" not in k}, "Open MPI", False),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, "a TPU slice", True),
        ({"MEGASCALE_NUM_SLICES": "4", "TPU_WORKER_HOSTNAMES": "a"}, "several TPU slices", True),
        ({"PMI_SIZE": "8"}, "a launcher", False),
        ({"WORLD_SIZE": "2"}, "a launcher", False),
    ],
)
def test_launchers_of_several_processes(environment, name, joins):
    found = find_launcher(environment)
    assert (found.name, found.joins) == (name, joins)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {**SLURM, "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"},
        # What `salloc --ntasks=2` and a batch script see, which are one process.
        {"SLURM_JOB_ID": "31", "SLURM_NTASKS": "2", "SLURM_NODELIST": "localhost"},
        {**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "1"},
        {"TPU_WORKER_HOSTNAMES": "localhost"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},  # a notebook in a cluster
    ],
)
def test_a_process_that_is_alone(environment):
    assert find_launcher(environment) is None


def test_the_machine_is_asked_for_the_hosts_of_its_slice():
    assert find_launcher({}, lambda: 4).joins
    assert find_launcher({}, lambda: 1) is None


def test_processes_from_the_environment():
    whole = {
        "JAX_COORDINATOR_ADDRESS": "host:1234",
        **{"JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"},
    }
    assert processes_by_environment(whole) == ("host:1234", 4, 3)
    assert processes_by_environment({"JAX_COORDINATOR_ADDRESS": "host:1234"}) is None
    with pytest.raises(ValueError, match=r"JAX_NUM_PROCESSES but not .*_ADDRESS, JAX_PROCESS_ID"):
        processes_by_environment({"JAX_NUM_PROCESSES": "4"})
    with pytest.raises(ValueError, match="whole numbers, found 'four'"):
        processes_by_environment({**whole, "JAX_NUM_PROCESSES": "four"})


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("host:1", 2, None), {}, "belong together"),
        ((None, 2, 0), {}, "belong together"),
        (("host", 2, 0), {}, "must be HOST:PORT, found 'host'"),
        (("host:1", 2, 2), {}, "counts from 0 to --num_processes - 1, found 2 of 2"),
        (("host:1", 0, 0), {}, "found 0 of 0"),
        (("host:1", 2, 0), {"distributed": "off"}, "leave out the other flags"),
    ],
)
def test_flags_that_do_not_fit(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        join(*arguments, **options)


def test_processes_that_cannot_be_joined_are_refused(monkeypatch):
    monkeypatch.setattr(cluster, "find_launcher", lambda *_: find_launcher({"PMI_SIZE": "8"}))
    with pytest.raises(ValueError, match=r"PMI_SIZE=8.*--coordinator_address=.*--distributed=off"):
        join()
    join(distributed="off")


def starts(port):
    """Start by -> (flags, environment) of each of two processes."""

    def each(template):
        return [([], {k: v.replace("RANK", str(i)) for k, v in template.items()}) for i in (0, 1)]

    address = f"--coordinator_address=localhost:{port}"
    ranks = {"SLURM_PROCID": "RANK", "SLURM_LOCALID": "RANK"}
    of_mpi = {"OMPI_COMM_WORLD_RANK": "RANK", "OMPI_COMM_WORLD_LOCAL_RANK": "RANK"}
    return {
        "flags": [([address, "--num_processes=2", f"--process_id={i}"], {}) for i in (0, 1)],
        "slurm": each({**SLURM, **ranks, "JAX_COORDINATOR_PORT": str(port)}),
        "open_mpi": each({**OPEN_MPI, **of_mpi, "JAX_COORDINATOR_PORT": str(port)}),
    }


@contextlib.contextmanager
def started(processes, arguments):
    """Commands that run together, on two CPU devices."""
    base = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(2 // len(processes))}
    command = [sys.executable, "-m", "vaejax.main", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    running = [
        subprocess.Popen([*command, *flags], env={**base, **environment}, **pipes)
        for flags, environment in processes
    ]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()
            process.stdout.close()


def run_all(processes, arguments):
    """Exit codes and outputs of commands that run together."""
    with started(processes, arguments) as running:
        outputs = [process.communicate(timeout=500)[0] for process in running]
    return [process.returncode for process in running], outputs


def data_flags(folder):
    """Flags of a small model of small data."""
    path = folder / "tiny.npz"
    np.savez(path, image=np.random.RandomState(0).rand(40, 8, 8, 1).astype(np.float32))
    return [
        *("--config=configs/beta_vae.py", f"--config.data.source=npz:{path}"),
        *("--config.model.network.kind=mlp", "--config.train.batch_size=8"),
        *("--config.sample.count=4", "--config.evaluate.figures=False"),
    ]


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_signal_to_one_of_two_processes(tmp_path, name):
    """Both save and stop though no record is due; of one that is lost the other says so."""
    workdir = tmp_path / "run"
    arguments = [*data_flags(tmp_path), f"--workdir={workdir}", "--config.train.steps=1000000000"]
    arguments += ["--config.train.log_every=100000000", "--config.train.checkpoint_every=0"]
    with started(starts(free_port())["flags"], arguments) as (first, second):
        lines = iter(first.stdout.readline, "")
        assert any("step/s" in line for line in lines)  # the loop has begun
        time.sleep(2)
        second.send_signal(getattr(signal, name))
        begin = saved = time.monotonic()
        while name == "SIGTERM" and not checkpoint_steps(workdir / "checkpoints"):
            time.sleep(0.05)
            saved = time.monotonic()
            assert saved - begin < 10
        out, _ = first.communicate(timeout=60)
        waited = time.monotonic() - begin
        second.wait(60)
    if name == "SIGTERM":
        assert (first.returncode, second.returncode) == (143, 143), out
        assert re.search(r"Stopped at step \d+ and saved", out)
        assert checkpoint_steps(workdir / "checkpoints")
    else:
        assert first.returncode == 2, out
        last = out.strip().splitlines()[-1]
        assert "error: another process of this run has ended" in last
    assert waited < 60


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_of_each_launcher_are_one_run(tmp_path):
    arguments = [*data_flags(tmp_path), "--config.train.steps=4", "--config.train.log_every=2"]
    port = free_port()
    ways = {"alone": [([], {})], **starts(port)}
    records = {}
    for way, processes in ways.items():
        workdir = tmp_path / way
        codes, outputs = run_all(processes, [*arguments, f"--workdir={workdir}"])
        assert not any(codes), outputs
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        records[way] = [json.loads(line) for line in lines]
        if len(processes) > 1:
            assert "step 4" in outputs[0]
            assert not outputs[1].strip()
            assert (workdir / "logs/process-1.txt").exists()
    for way in starts(port):
        for one, two in zip(records["alone"], records[way], strict=True):
            assert one.keys() == two.keys()
            for name in one.keys() - {"split"}:
                np.testing.assert_allclose(two[name], one[name], rtol=1e-5, err_msg=(way, name))
