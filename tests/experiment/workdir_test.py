"""Whose a working directory is, what it was trained on, and that reading it changes nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import vaejax
from vaejax.experiment.config_defaults import defaults
from vaejax.experiment.workdir import flatten
from vaejax.training.earlier_versions import ABSENT, completed
from vaejax.training.renamed_fields import RENAMED

ROOT = Path(vaejax.__file__).parents[1]


@pytest.fixture(scope="module")
def data(data):
    return [data[0], "--config.evaluate.figures=False", *data[1:]]


@pytest.fixture(scope="module")
def trained(command, data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained") / "run"
    code, _, err = command(*data, f"--workdir={workdir}")
    assert code == 0, err
    return workdir


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def contents(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "checkpoints/5/model.bin", "tb/events", "sweep.json"]
)
@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_the_directory_of_another_program_is_refused(command, one_line, data, tmp_path, name, mode):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("theirs")
    code, _, err = command(*data, f"--workdir={tmp_path}", f"--mode={mode}")
    assert code == 2
    first = name.partition("/")[0]
    assert f"{tmp_path} has {first} but no config.json" in one_line(err)
    assert contents(tmp_path) == {Path(name): b"theirs"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"optimizer": "sgd"}', "is not the config of a vaejax run"),
        ("[1, 2]", "should hold a JSON object, found list"),
        ('{"family": ', "is damaged"),
    ],
)
def test_the_config_of_another_program(command, one_line, data, tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    for mode in ("train", "evaluate", "sample", "export"):
        code, _, err = command(*data, f"--workdir={tmp_path}", f"--mode={mode}")
        assert code == 2
        assert f"{tmp_path / 'config.json'} {message}" in one_line(err)
    assert contents(tmp_path) == {Path("config.json"): text.encode()}


def test_the_workdir_is_a_file(command, one_line, data, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, _, err = command(*data, f"--workdir={tmp_path / 'file'}")
    assert code == 2
    assert f"--workdir={tmp_path / 'file'} is a file" in one_line(err)


def test_the_config_carries_the_version(trained):
    assert json.loads((trained / "config.json").read_text())["version"] == vaejax.__version__


def test_a_deleted_config(command, one_line, data, copied):
    before = (copied / "config.json").read_bytes()
    (copied / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing: start the command"):
        vaejax.load_run(copied)
    # Evaluated with the given config, and not written.
    code, _, err = command(*data, f"--workdir={copied}", "--mode=evaluate")
    assert (code, err, (copied / "config.json").exists()) == (0, "", False)
    changed = [*data, "--config.players.vae.minimizes.kl=2.5", f"--workdir={copied}"]
    code, _, err = command(*changed, "--mode=evaluate")
    assert code == 0
    assert "trained with another configuration" in err
    code, _, err = command(*changed)
    assert code == 2
    assert "config.json is missing, and the run had another configuration" in one_line(err)
    code, _, err = command(*data, f"--workdir={copied}")  # writes it back
    assert (code, (copied / "config.json").read_bytes()) == (0, before)
    assert vaejax.load_run(copied).step == 4


def test_a_run_of_an_earlier_version(command, data, copied):
    """Without the fields, the files and the names that came later."""
    config = json.loads((copied / "config.json").read_text())
    del config["version"], config["imports"], config["evaluate"]["annealing"]
    del config["data"]["observed_quadrants"], config["train"]["ema_decay"]
    del config["data"]["standardize"]  # True today, but the run was trained without
    config["train"]["max_skipped"] = config["train"].pop("max_consecutive_nonfinite")
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "fingerprint.json").unlink()
    run = vaejax.load_run(copied)
    assert (run.config["train"]["ema_decay"], run.config["data"]["standardize"]) == (0.0, False)
    assert run.sample(2).shape == (2, 8, 8, 1)
    for mode in ("evaluate", "train"):
        code, _, err = command(*data, f"--workdir={copied}", f"--mode={mode}")
        assert code == 0, err
        assert "warning" not in err


def test_every_default_has_a_value_for_runs_that_lack_it():
    """A new field of a config needs a row in `ABSENT`: how the version before it behaved."""
    given = {"family", "data.source"}  # which every run has
    fields = {k for k in flatten(defaults("beta_vae").to_dict()) if not k.startswith("sweep.")}
    assert fields - given == set(ABSENT)


def test_a_completed_config_is_complete_and_new_names_stay():
    config = flatten(completed({"family": "beta_vae", "data": {"source": "x"}, "prior_of": "y"}))
    assert (config["first_stage"], config["first_stage_step"]) == ("y", 0)
    again = completed(completed({"data": {"binarize": "dynamic", "quadrants": 2}}))
    assert (again["data"]["binarize"], again["data"]["observed_quadrants"]) == ("dynamic", 2)
    assert "quadrants" not in again["data"]
    assert ("data", "quadrants") in RENAMED


def replace_images(data, seed):
    """Other images under the same path; returns the former."""
    file = Path(data[-1].partition("npz:")[2])
    before = file.read_bytes()
    np.savez(file, image=np.random.RandomState(seed).rand(40, 8, 8, 1) < 0.5)
    return file, before


def test_replaced_data_is_refused_on_resume(command, one_line, data, copied):
    before = contents(copied)
    file, images = replace_images(data, 1)
    try:
        code, _, err = command(*data, "--config.train.steps=6", f"--workdir={copied}")
        assert code == 2
        stored = json.loads((copied / "fingerprint.json").read_text())["data"]["eval"]["checksum"]
        assert f"eval checksum was {stored}, is " in one_line(err)
        changed = {name for name, text in contents(copied).items() if before[name] != text}
        assert changed <= {Path("config.json")}
        # A run may be evaluated on them.
        code, _, err = command(*data, f"--workdir={copied}", "--mode=evaluate")
        assert code == 0
        assert err.startswith("warning: the data of")
    finally:
        file.write_bytes(images)


READ = """
import os, sys
import numpy as np, vaejax
vaejax.load_run(sys.argv[1])  # imports everything, which root alone may be able to
os.setgid(65534), os.setuid(65534)
assert not os.access(sys.argv[2], os.W_OK)
for checkpoint in ("latest", 2):
    run = vaejax.load_run(sys.argv[2], checkpoint=checkpoint)
    print(run.step, run.encode(np.zeros((8, 8, 1), np.uint8)).shape)
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to change the user")
def test_a_run_is_opened_without_any_right_to_write(copied):
    folder = Path("/tmp") / f"vaejax-read-only-{os.getpid()}"
    shutil.copytree(copied, folder)
    subprocess.run(["chmod", "-R", "a-w,a+rX", str(folder)], check=True)
    before = contents(folder)
    try:
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", READ, str(copied), str(folder)]
        options = {"capture_output": True, "text": True, "check": False}
        done = subprocess.run(command, cwd=ROOT, env=environment, **options)
        assert done.stdout == "4 (10,)\n2 (10,)\n", done.stderr
        assert contents(folder) == before
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
        shutil.rmtree(folder)


def test_reading_leaves_no_trace(copied, monkeypatch):
    """Not even a changed time, a lock or a removed temporary folder of the training."""
    unfinished = copied / "checkpoints" / "6.orbax-checkpoint-tmp" / "state"
    unfinished.mkdir(parents=True)

    def state():
        return {p: (p.stat().st_mtime_ns, p.stat().st_mode) for p in [copied, *copied.rglob("*")]}

    before = state()
    for checkpoint in ("latest", "best", 2):
        run = vaejax.load_run(copied, checkpoint=checkpoint)
        jax.block_until_ready(run.params)
    assert state() == before
