"""The command: what a working directory holds after it, and how runs go on."""

import json
import shutil
import signal
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from jax import export as jax_export

from vaejax.experiment import run
from vaejax.export.safetensors import load_params

NO_FIGURES = "--config.evaluate.figures=False"


@pytest.fixture(scope="module")
def trained(command, data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained") / "new" / "run"
    code, out, err = command(*data, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out


def contents(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def records_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_the_working_directory(trained):
    workdir, out = trained
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


def test_started_again_it_has_nothing_to_do(command, trained, data):
    workdir, _ = trained
    before = contents(workdir / "checkpoints"), (workdir / "metrics.jsonl").read_bytes()
    code, _, err = command(*data, NO_FIGURES, f"--workdir={workdir}")
    assert code == 0, err
    assert (contents(workdir / "checkpoints"), (workdir / "metrics.jsonl").read_bytes()) == before


def test_evaluate(command, trained, data):
    workdir, _ = trained
    before = contents(workdir)
    (workdir / "evaluation.json").unlink()
    code, out, err = command(*data, NO_FIGURES, f"--workdir={workdir}", "--mode=evaluate")
    assert code == 0, err
    after = contents(workdir)
    card = Path("model_card.md")  # of the latest evaluation, with its date
    assert after.pop(card).startswith(b"---")
    assert after == {path: content for path, content in before.items() if path != card}
    assert "Figures" not in out


CURVE = """
import vaejax


@vaejax.register("metric", "curve")
class Curve:
    def requires(self, family, source):
        return None

    def compute(self, context):
        assert context.source.split == "eval"
        curve = {f"{of}/{b}": b != "q" for of in ("rate", "distortion") for b in ("1", "q")}
        return {"bdmc_gap": 0.125, **curve}
"""


def test_further_metrics(command, trained, data, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    (tmp_path / "curve.py").write_text(CURVE)
    before = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    flags = [
        "--config.evaluate.mutual_information_samples=4",
        "--config.evaluate.metrics=curve",
        f"--config.imports=('{tmp_path / 'curve.py'}',)",
    ]
    with mock.patch.object(run, "draw_figures"):  # those that the fixture draws, but not this one
        code, out, err = command(*data, *flags, f"--workdir={tmp_path / 'run'}", "--mode=evaluate")
    assert code == 0, err
    after = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    parts = after.pop("mutual_information"), after.pop("marginal_kl")
    assert sum(parts) == pytest.approx(before["kl"], abs=2.0)  # by one draw of each of the four
    assert parts[0] <= np.log(4) + 1e-4
    curve = {k: after.pop(k) for k in ("rate/1", "rate/q", "distortion/1", "distortion/q")}
    assert (after.pop("bdmc_gap"), after) == (0.125, pytest.approx(before))
    assert "bdmc_gap" in out
    assert not any(name in out for name in curve)  # points of a figure, which is there
    assert (tmp_path / "run" / "figures" / "rate_distortion.png").exists()


def test_encode(command, trained, data):
    workdir, _ = trained
    before = contents(workdir)
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    found = {}
    for split in ("eval", "train", "all"):
        flags = [f"--workdir={workdir}", "--mode=encode", f"--split={split}"]
        code, out, err = command(*data, *flags)
        assert code == 0, err
        assert str(workdir / "latents.npz") in out
        found[split] = dict(np.load(workdir / "latents.npz"))
    (workdir / "latents.npz").unlink()
    assert contents(workdir) == before
    assert {name: len(a["mean"]) for name, a in found.items()} == {
        "eval": 4,
        "train": 36,
        "all": 40,
    }
    np.testing.assert_allclose(found["eval"]["elbo"].mean(), evaluation["elbo"], rtol=1e-5)
    # `all` is in the order of the data, of which the splits are parts.
    stored = {row.tobytes(): i for i, row in enumerate(np.round(found["all"]["mean"], 4))}
    for split in ("eval", "train"):
        positions = [stored[row.tobytes()] for row in np.round(found[split]["mean"], 4)]
        assert positions == sorted(positions)
        scales = found["all"]["scale"][positions]
        np.testing.assert_allclose(found[split]["scale"], scales, rtol=1e-5)


def test_samples_judged_by_a_program(command, trained, data, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    (b,) = jax_export.symbolic_shape("b")
    rows = jax_export.export(jax.jit(lambda x: x.mean(axis=(2, 3))))
    file = tmp_path / "rows.jaxexport"
    file.write_bytes(rows(jax.ShapeDtypeStruct((b, 8, 8, 1), np.float32)).serialize())
    flags = [f"--config.evaluate.feature_extractor={file}", "--config.evaluate.num_generated=4"]
    flags += [NO_FIGURES, f"--workdir={tmp_path / 'run'}", "--mode=evaluate"]
    code, out, err = command(*data, *flags)
    assert code == 0, err
    metrics = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert metrics["frechet"] > 0
    assert {"precision", "recall", "density", "coverage", "sharpness"} <= metrics.keys()
    assert "coverage" in out


def test_sample(command, trained, data):
    workdir, _ = trained
    before = contents(workdir)
    (workdir / "figures" / "samples.png").unlink()
    flag = f"--workdir={workdir}"
    code, out, err = command(*data, flag, "--mode=sample", "--config.sample.count=4")
    assert code == 0, err
    assert str(workdir / "figures" / "samples.png") in out
    after = contents(workdir)
    changed = {str(name) for name in after if before.get(name) != after[name]}
    assert changed == {"figures/samples.png", "samples.npz"}  # four of them in place of 64
    with np.load(workdir / "samples.npz") as arrays:
        assert arrays["image"].shape == (4, 8, 8, 1)


def test_export(command, trained, data):
    workdir, _ = trained
    before = contents(workdir)
    code, out, err = command(*data, f"--workdir={workdir}", "--mode=export")
    assert code == 0, err
    assert str(workdir / "export") in out
    dataset_info = json.loads((workdir / "export" / "export.json").read_text())
    assert (dataset_info["family"], dataset_info["step"]) == ("beta_vae", 4)
    encode, decode = (
        jax_export.deserialize(
            bytearray((workdir / "export" / dataset_info[name]["file"]).read_bytes())
        )
        for name in ("encoder", "decoder")
    )
    image = np.zeros((3, 8, 8, 1), np.float32)
    assert decode.call(*encode.call(image)).shape == image.shape
    leaves = load_params(workdir / "export" / "params.safetensors")
    assert set(leaves) == {"encoder", "decoder"}
    shutil.rmtree(workdir / "export")
    assert contents(workdir) == before


def test_a_learned_prior_is_not_exported(command, one_line, tmp_path):
    flags = ["--config.first_stage=runs/first", f"--workdir={tmp_path / 'no'}", "--mode=export"]
    code, _, err = command("--config=configs/prior.py", *flags)
    assert (code, (tmp_path / "no").exists()) == (2, False)
    assert "learned for the run runs/first" in one_line(err)


@pytest.mark.parametrize("mode", ["evaluate", "sample", "export"])
def test_there_is_no_run(command, one_line, data, tmp_path, mode):
    code, _, err = command(*data, f"--workdir={tmp_path / 'no'}", f"--mode={mode}")
    assert (code, (tmp_path / "no").exists()) == (2, False)
    assert one_line(err) == f"error: {tmp_path / 'no'} has no run; train first, with --mode=train"


def test_a_longer_run_is_the_same_run(command, trained, data, tmp_path):
    for steps in (2, 4):
        flags = [f"--config.train.steps={steps}", NO_FIGURES, f"--workdir={tmp_path / 'run'}"]
        code, _, err = command(*data, *flags)
        assert code == 0, err
    assert not (tmp_path / "run" / "figures").exists()
    wanted, found = contents(trained[0]), contents(tmp_path / "run")
    checksums = Path("checkpoints/4/checksums/metadata")  # of every array
    assert b"params/encoder" in wanted[checksums]
    for name in (checksums, *map(Path, ("metrics.jsonl", "evaluation.json"))):
        assert found[name] == wanted[name]
    wanted, found = (json.loads(files[Path("config.json")]) for files in (wanted, found))
    for config in (wanted, found):
        del config["evaluate"]["figures"]
    assert found == wanted


def test_another_configuration_is_refused(command, trained, data):
    workdir, _ = trained
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
