"""A second stage that the same command trains: its files, resumes, samples, and refusals."""

import filecmp
import json
import shutil

import jax
import numpy as np
import pytest

import vaejax
from vaejax.experiment import run as run_module
from vaejax.experiment.second_stage import second_stage_config
from vaejax.export.safetensors import load_params
from vaejax.training.interruption import StoppedError

SHORT = ("steps=4", "batch_size=8", "steps_per_dispatch=2", "log_every=2", "checkpoint_every=2")
TINY = [
    "--config=configs/vqvae.py",
    *(f"--config.train.{field}" for field in SHORT),
    *(f"--config.second_stage.train.{field}" for field in SHORT),
    *("--config.mesh.data=1", "--config.sample.count=6"),
    *("--config.model.quantizer.codes=6", "--config.model.quantizer.dim=4"),
    *("--config.model.network.hidden=8", "--config.model.network.downsamplings=2"),
    "--config.second_stage.model.network.width=16",
    "--config.second_stage.model.network.layers=1",
]
NO_FIGURES = "--config.evaluate.figures=False"
RECORDS = ("metrics.jsonl", "second_stage/metrics.jsonl", "evaluation.json")


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    file = tmp_path_factory.mktemp("images") / "tiny.npz"
    image = np.random.RandomState(0).rand(40, 8, 8, 1) < 0.5
    np.savez(file, image=image, label=np.arange(40) % 3)
    return [*TINY, f"--config.data.source=npz:{file}"]


@pytest.fixture(scope="module")
def both(command, flags, tmp_path_factory):
    """A finished run of both stages, and its output."""
    workdir = tmp_path_factory.mktemp("both") / "run"
    code, out, err = command(*flags, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out


def params_of(workdir):
    """Every array of both stages, in one order."""
    leaves = []
    for folder in (workdir, workdir / "second_stage"):
        run = vaejax.load_run(folder, second_stage=False)
        leaves += [np.asarray(a) for a in jax.tree.leaves(run.params)]
    return leaves


def assert_equal(workdir, other):
    for name in RECORDS:
        assert filecmp.cmp(workdir / name, other / name, shallow=False), name
    for a, b in zip(params_of(workdir), params_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_command_trains_both_and_draws_from_the_second(both):
    workdir, out = both
    result = json.loads((workdir / "evaluation.json").read_text())
    assert {"nll", "mse", "codes_used", "nll_codes", "bits_per_code", "elbo_gain"} <= set(result)
    assert {"prior/accuracy", "prior/nll"} <= set(result)
    assert result["elbo"] == pytest.approx(-result["nll"] - result["nll_codes"], rel=1e-5)
    # The prior over the codes has the KL of both stages, and the records that of the first alone.
    assert result["prior/nll"] == pytest.approx(result["kl"], rel=1e-5)
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    first = next(r for r in records if (r["step"], r["split"]) == (4, "eval"))
    assert first["kl"] == pytest.approx(4 * np.log(6), rel=1e-5)
    assert result["elbo_gain"] == pytest.approx(result["elbo"] - first["elbo"], abs=1e-3)
    names = {"reconstructions", "samples", "samples_uniform", "codes", "losses"}
    names = {f"{name}.png" for name in (*names, "losses_second_stage")}
    assert {file.name for file in (workdir / "figures").iterdir()} == names
    assert "code_prior on npz:" in out
    assert out.count("36 to train on, 4 to evaluate on") == 2


@pytest.mark.slow
def test_samples_of_an_opened_run_are_those_of_the_second_stage(both, tmp_path):
    workdir = tmp_path / "moved"  # the second stage finds the first in the folder above
    shutil.copytree(both[0], workdir)
    run, alone = vaejax.load_run(workdir), vaejax.load_run(workdir, second_stage=False)
    nested = vaejax.load_run(workdir / "second_stage")
    samples = run.sample(3, seed=1, condition=[0, 1, 2])
    assert samples.shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(samples, nested.sample(3, seed=1, condition=[0, 1, 2]))
    assert (run.config["family"], alone.config["family"]) == ("vqvae", "vqvae")
    images = np.random.RandomState(1).rand(5, 8, 8, 1) < 0.5
    codes = run.encode(images.astype(np.float32))
    np.testing.assert_array_equal(codes, alone.encode(images.astype(np.float32)))
    np.testing.assert_array_equal(run.decode(codes), alone.decode(codes))
    score, first = run.score(images.astype(np.float32)), alone.score(images.astype(np.float32))
    np.testing.assert_allclose(score["nll"], first["nll"], rtol=1e-6)
    assert not np.allclose(score["kl"], first["kl"])
    np.testing.assert_allclose(first["kl"], 4 * np.log(6), rtol=1e-5)


def test_the_model_card_has_the_facts_of_both_stages(both):
    workdir, _ = both
    card = (workdir / "model_card.md").read_text()
    _, header, body = card.split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in header.splitlines())
    assert fields["library_name"] == '"vaejax"'
    assert json.loads(fields["tags"]) == ["vae", "jax", "vqvae"]
    assert {"elbo", "nll_codes"} <= set(json.loads(fields["metrics"]))
    result = json.loads((workdir / "evaluation.json").read_text())
    assert f"| `elbo` | {result['elbo']:.6g} | nats per example |" in body
    assert f"| `prior/accuracy` | {result['prior/accuracy']:.6g} |  |" in body
    assert "| `model.quantizer.codes` | `6` |" in body
    assert "| second stage: model | `code_prior`, " in body
    assert "`data.holdout`" not in body  # the default
    assert "python -m vaejax.main --config=" in body
    assert f"| jax | {jax.__version__} |" in body


@pytest.mark.slow
def test_an_export_has_both_stages_and_goes_to_the_hub(command, flags, both, one_line, monkeypatch):
    pytest.importorskip("huggingface_hub")
    workdir, _ = both
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    same = [*flags, f"--workdir={workdir}", "--mode=export", "--hub=me/tiny"]
    code, _, err = command(*same)
    assert (code, (workdir / "export").exists()) == (2, False)
    assert "--hub=me/tiny needs a token that may write" in one_line(err)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_token")
    code, out, err = command(*same)  # nothing listens there
    assert code == 2
    assert "cannot push to me/tiny on the Hub" in err.splitlines()[-1]
    assert f"Export: {workdir / 'export'}" in out
    files = {file.name for file in (workdir / "export").iterdir()}
    assert files == {
        *("params.safetensors", "second_stage.safetensors", "export.json", "config.json"),
        *("encoder.jaxexport", "decoder.jaxexport", "sampler.jaxexport", "README.md"),
    }
    blob = (workdir / "export" / "sampler.jaxexport").read_bytes()
    sampler = jax.export.deserialize(bytearray(blob))
    seeds, labels = np.array([3, 5], np.uint32), np.array([1, 2], np.int32)
    samples, run = np.asarray(sampler.call(seeds, labels)), vaejax.load_run(workdir)
    for i in range(2):
        label = {"label": labels[i : i + 1]}
        p = run.family.model.generate(run.params, jax.random.key(seeds[i]), 1, label)
        np.testing.assert_allclose(samples[i], np.asarray(p.mean)[0], atol=1e-6)
    prior = load_params(workdir / "export" / "second_stage.safetensors")
    expected = vaejax.load_run(workdir).params["second"]
    jax.tree.map(np.testing.assert_array_equal, prior, jax.tree.map(np.asarray, expected))
    card = (workdir / "model_card.md").read_bytes()
    assert (workdir / "export" / "README.md").read_bytes() == card


@pytest.mark.slow
def test_the_other_modes_use_the_second_stage(command, flags, both, tmp_path):
    workdir, _ = both
    before = (workdir / "evaluation.json").read_text()
    (workdir / "figures" / "samples.png").unlink()
    (workdir / "evaluation.json").unlink()
    same = [*flags, f"--workdir={workdir}"]
    code, out, err = command(*same, "--mode=sample", "--config.sample.top_p=0.5")
    assert code == 0, err
    assert str(workdir / "figures" / "samples.png") in out
    code, _, err = command(*same, NO_FIGURES, "--mode=evaluate")
    assert code == 0, err
    assert (workdir / "evaluation.json").read_text() == before
    code, _, err = command(*same, "--mode=sample", "--config.second_stage.model.network.layers=2")
    assert code == 2
    assert "model.network.layers: 1 -> 2" in err


@pytest.mark.slow
def test_a_run_that_ended_in_the_second_stage_resumes_to_the_bit(command, flags, both, tmp_path):
    """From what is there after two of its four steps."""
    workdir = tmp_path / "run"
    shutil.copytree(both[0], workdir)
    shutil.rmtree(workdir / "second_stage" / "checkpoints" / "4")
    for name in ("evaluation.json", "model_card.md"):
        (workdir / name).unlink()
    code, _, err = command(*flags, NO_FIGURES, f"--workdir={workdir}")
    assert code == 0, err
    assert_equal(workdir, both[0])


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_a_run_stopped_in_either_stage_resumes_to_the_bit(flags, both, command, stage, tmp_path):
    workdir, calls, fit = tmp_path / "run", [], run_module.fit

    def stopping(trainer, settings, **options):
        calls.append(options["workdir"].name)
        if len(calls) < stage:
            return fit(trainer, settings, **options)
        fit(trainer, settings.__class__(**{**vars(settings), "steps": 2}), **options)
        raise StoppedError(15, "stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "fit", stopping)
        assert command(*flags, NO_FIGURES, f"--workdir={workdir}")[0] == 143
    assert calls[-1] == ("run", "second_stage")[stage - 1]
    assert (workdir / "second_stage").exists() == (stage == 2)
    code, _, err = command(*flags, NO_FIGURES, f"--workdir={workdir}")
    assert code == 0, err
    assert_equal(workdir, both[0])


@pytest.mark.slow
def test_what_may_change_between_starts(command, flags, both, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(both[0], workdir)
    same = [*flags, NO_FIGURES, f"--workdir={workdir}"]
    before = (workdir / "metrics.jsonl").read_text()
    code, _, err = command(*same, "--config.second_stage.model.network.width=8")
    assert code == 2
    assert "model.network.width: 16 -> 8" in err
    assert f"Delete {workdir / 'second_stage'} to train it again" in err
    code, out, err = command(*same, "--config.train.steps=6", "--config.second_stage.train.steps=2")
    assert code == 0, err
    assert "The first stage went on from step 4: the second is trained again." in out
    assert (workdir / "metrics.jsonl").read_text().startswith(before)
    config = json.loads((workdir / "second_stage" / "config.json").read_text())
    assert (config["first_stage"], config["first_stage_step"]) == ("..", 6)
    assert vaejax.load_run(workdir).step == 2


def test_a_first_stage_that_went_on_is_opened_alone(both, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(both[0], workdir)
    shutil.rmtree(workdir / "checkpoints" / "4")  # its newest is another than that of the second
    assert "second" not in vaejax.load_run(workdir).params
    assert "second" in vaejax.load_run(both[0]).params


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("second_stage.family=code_priors", "second_stage: unknown family 'code_priors'"),
        ("second_stage.family=gaussian_mixture", "second_stage: family 'gaussian_mixture' has no"),
        ("second_stage.train.steps=0", "second_stage.train.steps"),
        ("second_stage.train.step=3", "second_stage.train has no field 'step'"),
        ("second_stage.players.prior.optimizer=adamx", "adamx"),
        ("second_stage.model.network.heads=3", "second_stage: "),
        ("second_stage.condition_dropout=2.0", "second_stage.condition_dropout"),
    ],
)
def test_bad_fields_are_refused_before_the_first_stage(
    command, flags, one_line, flag, message, tmp_path
):
    code, _, err = command(*flags, f"--config.{flag}", f"--workdir={tmp_path / 'run'}")
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert message in one_line(err)


def test_the_config_of_the_second_stage_is_that_of_a_run(both):
    config = json.loads((both[0] / "config.json").read_text())
    stored = json.loads((both[0] / "second_stage" / "config.json").read_text())
    stored.pop("version")
    assert json.loads(json.dumps(second_stage_config(config, 4))) == stored
    assert (stored["data"]["source"], stored["data"]["condition_dropout"]) == (
        config["data"]["source"],
        0.1,
    )
