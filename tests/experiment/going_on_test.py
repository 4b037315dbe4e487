"""Selection and continuation by the command: checkpoints, other settings."""

import json
import shutil

import numpy as np
import pytest

import vaejax
from tests.experiment.validated_run import VALIDATED, arrays_of, best_of, records_of, run


@pytest.fixture(name="copied")
def copied_run(validated, tmp_path):
    return shutil.copytree(validated[0], tmp_path / "run")


def test_the_best_checkpoint_is_used_and_named(command, validated, splits, copied):
    workdir, out = validated
    best = best_of(workdir)
    assert "40 to train on, 10 to validate on, 10 to evaluate on" in out
    assert not records_of(workdir, "eval")
    line = f"Checkpoint: step {best}, the best of the validation split by elbo"
    assert line in out
    assert json.loads((workdir / "evaluation.json").read_text())["step"] == best
    opened = vaejax.load_run(workdir)
    assert (opened.step, opened.checkpoint) == (best, "best")
    evaluate = [*VALIDATED, splits, f"--workdir={copied}", "--mode=evaluate"]
    assert line in run(command, *evaluate)
    assert "Checkpoint: step 8, the newest" in run(command, *evaluate, "--checkpoint=latest")
    assert json.loads((copied / "evaluation.json").read_text())["step"] == 8
    assert "Checkpoint: step 2, as chosen" in run(command, *evaluate, "--checkpoint=2")


def test_without_a_validation_split_the_newest_is_used(command, splits, tmp_path):
    flags = [*VALIDATED, splits, "--config.train.steps=2", f"--workdir={tmp_path / 'run'}"]
    out = run(command, *flags, "--config.data.validation=none")
    assert "Checkpoint: step 2, the newest" in out
    assert records_of(tmp_path / "run", "eval")
    assert vaejax.load_run(tmp_path / "run").checkpoint == "latest"


@pytest.mark.slow
def test_a_run_goes_on_under_another_learning_rate(command, splits, copied, one_line, tmp_path):
    """A schedule, which the optimizer's state had not, counts from the run's first step."""
    rate = {"kind": "piecewise", "values": [1.0, 0.0], "boundaries": [8]}
    config = tmp_path / "changed.py"
    config.write_text(
        "from configs import beta_vae\n"
        "def get_config():\n"
        "    config = beta_vae.get_config()\n"
        "    del config.players.vae.learning_rate\n"
        f"    config.players.vae.learning_rate = {rate}\n"
        "    return config\n"
    )
    before = arrays_of(copied)
    flags = [f"--config={config}", *VALIDATED[1:], splits, f"--workdir={copied}"]
    flags.append("--config.train.steps=12")
    code, _, err = command(*flags)
    assert code == 2
    assert "--allow_change=players.vae.learning_rate" in err
    run(command, *flags, "--allow_change=players.vae.learning_rate")
    after = arrays_of(copied)
    assert all(np.array_equal(after[name], before[name]) for name in before)  # the rate is 0
    assert vaejax.load_run(copied, "latest").step == 12
    assert vaejax.load_run(copied, 4).step == 4  # with the optimizer's state of before
    (entry,) = map(json.loads, (copied / "history.jsonl").read_text().splitlines())
    assert entry["step"] == 8
    assert entry["changed"]["players.vae.learning_rate"] == [5e-4, "absent"]
    run(command, *flags)  # the new configuration is the run's
    assert len((copied / "history.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
def test_going_on_resumes_bit_for_bit(command, splits, validated, tmp_path):
    """Interrupted at a checkpoint after the change, and started again."""
    results = []
    config = tmp_path / "clipped.py"
    config.write_text(
        "from configs import beta_vae\n"
        "def get_config():\n"
        "    config = beta_vae.get_config()\n"
        "    config.players.vae.clip_norm = 2.0\n"
        "    config.players.vae.reduce_on_plateau = {'patience': 1}\n"
        "    return config\n"
    )
    allowed = "--allow_change=players.vae.clip_norm,players.vae.reduce_on_plateau"
    change = [f"--config={config}", allowed]
    for name, stops in (("a", [14]), ("b", [10, 14])):
        workdir = shutil.copytree(validated[0], tmp_path / name)
        for steps in stops:
            flags = [*change, *VALIDATED[1:], splits, f"--config.train.steps={steps}"]
            run(command, *flags, f"--workdir={workdir}")
        results.append((arrays_of(workdir), (workdir / "metrics.jsonl").read_bytes()))
    (a, records), (b, others) = results
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert records == others


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("model.latent_dim", "cannot go on under another value of it"),
        ("data.source", "cannot go on under another value of it"),
        ("players.vea", "did you mean"),
    ],
)
def test_other_fields_cannot_change(command, splits, validated, one_line, fields, message):
    flags = [*VALIDATED, splits, f"--workdir={validated[0]}", f"--allow_change={fields}"]
    code, _, err = command(*flags)
    assert code == 2
    assert message in one_line(err)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.init_groups=encoder"], "init_groups needs init_from"),
        (["--config.init_from=/nonexistent"], "does not exist"),
        (["--config.init_from={data}"], "is not a safetensors file"),
        (["--config.init_from={run}", "--config.init_groups=encodr"], "did you mean 'encoder'"),
        (["--config.freeze_groups=encodr"], "did you mean 'encoder'"),
        (["--config.freeze_groups=encoder,decoder"], "no groups left"),
        (["--config.train.best_metric=nonsense"], "best_direction"),
        (
            ["--config.train.best_metric=mes", "--config.train.best_direction=min"],
            "did you mean 'mse'",
        ),
        (["--config.data.validation=vla"], "did you mean 'val'"),
        (["--checkpoint=oldest"], "--checkpoint is auto, best, latest or a step"),
    ],
)
def test_mistakes_are_one_line(command, splits, validated, one_line, tmp_path, flags, message):
    places = {"run": validated[0], "data": splits.partition("npz:")[2]}
    flags = [flag.format(**places) for flag in flags]
    code, _, err = command(*VALIDATED, splits, f"--workdir={tmp_path / 'run'}", *flags)
    assert code == 2
    assert message in one_line(err)


@pytest.mark.slow
def test_a_model_of_a_sweep_is_evaluated_at_its_best(command, splits, tmp_path):
    workdir = tmp_path / "sweep"
    flags = [*VALIDATED, splits, f"--workdir={workdir}", "--config.sweep.seeds=2"]
    out = run(command, *flags)
    assert "of each model those of its best evaluation" in out
    summary = json.loads((workdir / "sweep.json").read_text())["models"]
    evaluations = records_of(workdir, "validation")
    for number, model in enumerate(summary):
        own = [record for record in evaluations if record["model"] == number]
        assert model["step"] == max(own, key=lambda record: record["elbo"])["step"]
    out = run(command, *flags, "--config.sweep.index=1", "--mode=evaluate")
    assert f"Checkpoint: step {summary[1]['step']}, the best" in out
    alone = json.loads((workdir / "models" / "1" / "evaluation.json").read_text())
    assert alone["elbo"] == pytest.approx(summary[1]["metrics"]["elbo"], abs=1e-3)
