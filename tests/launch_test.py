"""The files of `docs/launch`: they parse, and their commands are those of the library."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from absl import flags

import vaejax
from vaejax import main

FOLDER = Path(vaejax.__file__).parents[1] / "docs/launch"
FILES = sorted(FOLDER.iterdir())
SBATCH = {
    *("job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time", "signal"),
    *("requeue", "output"),
}


def command_of(text):
    """The arguments of `python -m vaejax.main` in a script, with its variables replaced."""
    text = text.replace("\\\n", " ").split("vaejax.main", 1)[1].split("\n")[0]
    text = re.sub(r'"\$\(echo [^)]*\):(\d+)"', r"host:\1", text)
    text = re.sub(r'"?\$\{?\w+\}?"?', "1", text).removesuffix("&").rstrip().removesuffix('"')
    return shlex.split(text)


def commands():
    for file in FILES:
        if file.suffix == ".sh":
            yield file.name, command_of(file.read_text())
    task = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    yield "skypilot.yaml", command_of(task["run"])
    yield "jobset.yaml", pod()["containers"][0]["command"][3:]


def pod():
    jobs = yaml.safe_load((FOLDER / "jobset.yaml").read_text())["spec"]["replicatedJobs"]
    return jobs[0]["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("file", [f for f in FILES if f.suffix == ".sh"], ids=lambda f: f.name)
def test_scripts_parse(file):
    assert file.read_text().startswith("#!/bin/bash\n")
    assert file.stat().st_mode & 0o100
    subprocess.run(["bash", "-n", str(file)], check=True)


@pytest.mark.parametrize(("name", "arguments"), list(commands()))
def test_commands_parse(name, arguments):
    main._checked(["main", *arguments])  # the config, its setting and its fields
    names = [a.partition("=")[0].removeprefix("--") for a in arguments]
    assert all(name in flags.FLAGS for name in names if not name.startswith("config."))
    assert {"config", "workdir"} <= set(names)


def test_options_of_the_batch_script():
    text = (FOLDER / "slurm.sh").read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))
    assert options.keys() == SBATCH
    assert re.fullmatch(r"\d\d:\d\d:\d\d", options["time"])
    assert text.index("#SBATCH --output") < text.index("srun")  # later ones are ignored
    tasks = int(options["nodes"]) * int(options["ntasks-per-node"])
    size = re.search(r"train\.batch_size=(\d+)", text)[1]
    assert int(size) % tasks == 0


def test_the_job_set():
    job_set = yaml.safe_load((FOLDER / "jobset.yaml").read_text())
    assert (job_set["apiVersion"], job_set["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    job = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["parallelism"] == job["completions"]
    limits = pod()["containers"][0]["resources"]["limits"]
    sides = map(int, pod()["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    x, y = sides
    assert job["parallelism"] * limits["google.com/tpu"] == x * y
    mounts = {mount["name"] for mount in pod()["containers"][0]["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod()["volumes"]}


def test_the_sky_task():
    task = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    known = {"name", "num_nodes", "workdir", "resources", "file_mounts", "setup", "run", "envs"}
    assert task.keys() <= known
    subprocess.run(["bash", "-n"], input=task["setup"] + task["run"], text=True, check=True)


def test_the_page_names_every_file():
    page = (FOLDER.parent / "scale.md").read_text()
    assert all(f"launch/{file.name}" in page for file in FILES)
