"""The command on a finished run: evaluate, encode, sample, export."""

import json
import shutil
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from jax import export as jax_export

from tests.experiment.run_contents import NO_FIGURES, contents
from vaejax.experiment import evaluate_run
from vaejax.export.safetensors import load_params


@pytest.fixture(scope="module")
def workdir(finished, tmp_path_factory):
    return shutil.copytree(finished[0], tmp_path_factory.mktemp("trained") / "run")


def test_evaluate(command, workdir, data):
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


def test_further_metrics(command, workdir, data, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "curve.py").write_text(CURVE)
    before = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    flags = [
        "--config.evaluate.mutual_information_samples=4",
        "--config.evaluate.metrics=curve",
        f"--config.imports=('{tmp_path / 'curve.py'}',)",
    ]
    with mock.patch.object(evaluate_run, "draw_figures"):  # which the run has
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


def test_encode(command, workdir, data):
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


def test_samples_judged_by_a_program(command, workdir, data, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
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


def test_sample(command, workdir, data):
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


def test_export(command, workdir, data):
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
