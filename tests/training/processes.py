"""Runs in several processes for the tests: started here, and what each of them does.

`python -m tests.training.processes NUMBER COUNT PORT JOBS` is process NUMBER of COUNT. It joins the
others, and does the jobs of a JSON file one after the other.
"""

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent


def job(config, workdir, mode="train", **changes):
    """A run: its config as in `beta_vae:sprites`, its directory, and other values of fields."""
    return {"config": config, "workdir": str(workdir), "mode": mode, "changes": changes}


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def started(count, jobs, folder, devices=1, **environment):
    """`count` processes with some virtual devices each, which do the jobs; killed at the end."""
    path, port = folder / f"jobs-{free_port()}.json", free_port()
    path.write_text(json.dumps(jobs))
    fields = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, *map(str, (number, count, port, path))],
            env={**fields, **environment},
            **pipes,
        )
        for number in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()


@contextlib.contextmanager
def commands(count, arguments, folder, devices=1, port=None):
    """`count` processes of the command as one run; each prints to `folder/output-N.txt`."""
    address = f"--coordinator_address=localhost:{port or free_port()}"
    fields = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    fields["VAEJAX_CACHE"] = str(folder / "cache")
    command = [sys.executable, "-m", "vaejax.main", *arguments]
    if count > 1:
        command += [address, f"--num_processes={count}"]
    processes = []
    for number in range(count):
        own = [f"--process_id={number}"] if count > 1 else []
        with (folder / f"output-{number}.txt").open("w") as output:
            pipes = {"stdout": output, "stderr": subprocess.STDOUT, "cwd": ROOT, "env": fields}
            processes.append(subprocess.Popen([*command, *own], **pipes))
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def outputs(folder, count):
    """What the processes of `commands` printed, also to the logs of the working directory."""
    return [(folder / f"output-{number}.txt").read_text() for number in range(count)]


def run_jobs(count, jobs, folder, devices=1, **environment):
    """Does jobs to their end; returns what each process printed."""
    with started(count, jobs, folder, devices, **environment) as processes:
        outputs = [process.communicate(timeout=1500)[0] for process in processes]
        assert not any(process.returncode for process in processes), "\n".join(outputs)
    return outputs


def records(workdir):
    """All records of a run and of its second stage, with the metrics of its evaluation."""
    found = []
    for name in ("metrics.jsonl", "second_stage/metrics.jsonl"):
        if (workdir / name).exists():
            found += [json.loads(line) for line in (workdir / name).read_text().splitlines()]
    for name in ("evaluation.json", "sweep.json"):
        if (workdir / name).exists():
            found.append(json.loads((workdir / name).read_text()))
    return found


def assert_close(actual, expected, where, rtol=1e-5):
    """Nested values of JSON are equal, numbers up to a relative error."""
    assert type(actual) is type(expected), where
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys(), where
        for name, value in expected.items():
            if name == "elbo_gain":  # a difference of ELBOs
                assert abs(actual[name] - value) <= rtol * abs(expected["elbo"]), where
            else:
                assert_close(actual[name], value, f"{where}/{name}", rtol)
    elif isinstance(expected, list):
        assert len(actual) == len(expected), where
        for number, value in enumerate(expected):
            assert_close(actual[number], value, f"{where}/{number}", rtol)
    elif isinstance(expected, float):
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-6, err_msg=where)
    else:
        assert actual == expected, where


def _join(number, count, port):
    import jax

    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", count, number, heartbeat_timeout_seconds=20)
    assert jax.process_count() == count


def _do(one):
    if "call" in one:
        module, _, name = one["call"].partition(":")
        getattr(importlib.import_module(module), name)()
        return
    from vaejax.experiment.run import run
    from vaejax.experiment.run_sweep import run_sweep

    name, _, setting = one["config"].partition(":")
    get_config = importlib.import_module(f"configs.{name}").get_config
    config = (get_config(setting) if setting else get_config()).to_dict()
    for path, value in one["changes"].items():
        *parents, last = path.split(".")
        section = config
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    start = run_sweep if config["sweep"]["grid"] else run
    start(config, Path(one["workdir"]), one["mode"], allow_change=one.get("allow_change", ()))


def main():
    number, count, port = map(int, sys.argv[1:4])
    _join(number, count, port)
    for one in json.loads(Path(sys.argv[4]).read_text()):
        print(f"job {one}", flush=True)
        _do(one)


if __name__ == "__main__":
    main()
