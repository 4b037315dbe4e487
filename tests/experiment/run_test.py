"""The command that trains: what a working directory holds after it, and how runs go on."""

import json
import signal
import time
from pathlib import Path

import numpy as np

from tests.experiment.run_contents import NO_FIGURES, contents, records_of


def test_the_working_directory(finished):
    workdir, out = finished
    names = {
        "config.json",
        "data.json",
        "fingerprint.json",
        "metrics.jsonl",
        "evaluation.json",
        "model_card.md",
        "tb",
        "checkpoints",
        "figures",
    }
    assert {file.name for file in workdir.iterdir()} == names
    config = json.loads((workdir / "config.json").read_text())
    assert (config["train"]["steps"], config["model"]["network"]["kind"]) == (4, "mlp")
    records = records_of(workdir)
    assert [(r["step"], r["split"]) for r in records] == [
        (2, "train"),
        (2, "eval"),
        (4, "train"),
        (4, "eval"),
    ]
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert evaluation["step"] == 4
    assert {"nll", "kl", "kl/0", "elbo", "mse", "active_units"} <= set(evaluation)
    assert all(np.isfinite(value) for value in evaluation.values())
    figures = {"reconstructions", "samples", "losses", "traversals", "interpolations"}
    assert {file.name for file in (workdir / "figures").iterdir()} == {f"{n}.png" for n in figures}
    assert list((workdir / "tb").glob("events.out.tfevents.*"))
    assert {"2", "4"} <= {file.name for file in (workdir / "checkpoints").iterdir()}
    for told in ("36 to train on, 4 to evaluate on", f"{evaluation['elbo']:.6g}", str(workdir)):
        assert told in out


def test_started_again_it_has_nothing_to_do(command, finished, data):
    workdir, _ = finished
    before = contents(workdir / "checkpoints"), (workdir / "metrics.jsonl").read_bytes()
    code, _, err = command(*data, NO_FIGURES, f"--workdir={workdir}")
    assert code == 0, err
    assert (contents(workdir / "checkpoints"), (workdir / "metrics.jsonl").read_bytes()) == before


def test_a_longer_run_is_the_same_run(command, finished, data, tmp_path):
    for steps in (2, 4):
        flags = [f"--config.train.steps={steps}", NO_FIGURES, f"--workdir={tmp_path / 'run'}"]
        code, _, err = command(*data, *flags)
        assert code == 0, err
    assert not (tmp_path / "run" / "figures").exists()
    wanted, found = contents(finished[0]), contents(tmp_path / "run")
    checksums = Path("checkpoints/4/checksums/metadata")  # of every array
    assert b"params/encoder" in wanted[checksums]
    for name in (checksums, *map(Path, ("metrics.jsonl", "evaluation.json"))):
        assert found[name] == wanted[name]
    wanted, found = (json.loads(files[Path("config.json")]) for files in (wanted, found))
    for config in (wanted, found):
        del config["evaluate"]["figures"]
    assert found == wanted


def test_another_configuration_is_refused(command, finished, data):
    workdir, _ = finished
    before = contents(workdir)
    changes = ["--config.players.vae.minimizes.kl=2.5", "--config.seed=3"]
    for mode in ("train", "evaluate", "sample"):
        code, out, err = command(*data, *changes, f"--workdir={workdir}", f"--mode={mode}")
        assert (code, out) == (2, "")
        assert "  players.vae.minimizes.kl: 4.0 -> 2.5\n  seed: 0 -> 3\n" in err
        assert str(workdir) in err
    assert contents(workdir) == before


def test_sigterm_saves_and_exits(start, data, tmp_path):
    arguments = [*data, "--config.train.steps=1000000", "--config.train.checkpoint_every=0"]
    process = start([*arguments, f"--workdir={tmp_path}"])
    deadline = time.monotonic() + 300
    while not (tmp_path / "metrics.jsonl").exists() or len(records_of(tmp_path)) < 2:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, err
    (step,) = (int(f.name) for f in (tmp_path / "checkpoints").iterdir() if f.is_dir())
    assert f"Stopped at step {step} and saved" in out
    assert records_of(tmp_path)[-1]["step"] == step
    assert not (tmp_path / "evaluation.json").exists()
