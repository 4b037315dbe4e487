"""Selection and continuation by the command: checkpoints, other settings, other parameters."""

import json
import shutil

import numpy as np
import pytest

import vaejax
from vaejax.export.safetensors import save_params

TINY = [
    "--config=configs/beta_vae.py",
    "--config.train.steps=8",
    "--config.train.batch_size=4",
    "--config.train.steps_per_dispatch=2",
    "--config.train.log_every=4",
    "--config.train.checkpoint_every=2",
    "--config.train.keep_last=9",
    "--config.model.network.kind=mlp",
    "--config.model.latent_dim=2",
    "--config.evaluate.figures=False",
    "--config.mesh.data=1",
]


def file_of(path, size=6, seed=0):
    pixels = np.random.RandomState(seed).randint(0, 256, (60, size, size)).astype(np.uint8)
    parts = {"x_train": pixels[:40], "x_test": pixels[40:50], "x_val": pixels[50:]}
    np.savez(path, **parts)
    return f"--config.data.source=npz:{path}"


@pytest.fixture(name="data", scope="module")
def three_splits(tmp_path_factory):
    return file_of(tmp_path_factory.mktemp("data") / "a.npz")


@pytest.fixture(name="trained", scope="module")
def trained_run(command, data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained") / "run"
    code, out, err = command(*TINY, data, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out


@pytest.fixture(name="copied")
def copied_run(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "run")


def records_of(workdir, split):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["split"] == split]


def arrays_of(workdir, checkpoint="latest"):
    params = vaejax.load_run(workdir, checkpoint).params
    return {
        f"{group}/{layer}/{name}": np.asarray(value)
        for group, layers in params.items()
        for layer, arrays in layers.items()
        for name, value in arrays.items()
    }


def best_of(workdir):
    evaluations = records_of(workdir, "validation")
    return max(evaluations, key=lambda record: record["elbo"])["step"]


def run(command, *arguments):
    code, out, err = command(*arguments)
    assert code == 0, err
    return out


def test_the_best_checkpoint_is_used_and_named(command, trained, data, copied):
    workdir, out = trained
    best = best_of(workdir)
    assert "40 to train on, 10 to validate on, 10 to evaluate on" in out
    assert not records_of(workdir, "eval")
    line = f"Checkpoint: step {best}, the best of the validation split by elbo"
    assert line in out
    assert json.loads((workdir / "evaluation.json").read_text())["step"] == best
    opened = vaejax.load_run(workdir)
    assert (opened.step, opened.checkpoint) == (best, "best")
    evaluate = [*TINY, data, f"--workdir={copied}", "--mode=evaluate"]
    assert line in run(command, *evaluate)
    assert "Checkpoint: step 8, the newest" in run(command, *evaluate, "--checkpoint=latest")
    assert json.loads((copied / "evaluation.json").read_text())["step"] == 8
    assert "Checkpoint: step 2, as chosen" in run(command, *evaluate, "--checkpoint=2")


def test_without_a_validation_split_the_newest_is_used(command, data, tmp_path):
    flags = [*TINY, data, "--config.train.steps=2", f"--workdir={tmp_path / 'run'}"]
    out = run(command, *flags, "--config.data.validation=none")
    assert "Checkpoint: step 2, the newest" in out
    assert records_of(tmp_path / "run", "eval")
    assert vaejax.load_run(tmp_path / "run").checkpoint == "latest"


def test_a_run_goes_on_under_another_learning_rate(command, data, copied, one_line, tmp_path):
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
    flags = [f"--config={config}", *TINY[1:], data, f"--workdir={copied}"]
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


def test_going_on_resumes_bit_for_bit(command, data, trained, tmp_path):
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
        workdir = shutil.copytree(trained[0], tmp_path / name)
        for steps in stops:
            flags = [*change, *TINY[1:], data, f"--config.train.steps={steps}"]
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
def test_other_fields_cannot_change(command, data, trained, one_line, fields, message):
    flags = [*TINY, data, f"--workdir={trained[0]}", f"--allow_change={fields}"]
    code, _, err = command(*flags)
    assert code == 2
    assert message in one_line(err)


def test_a_run_starts_from_another_ones_best_parameters(command, data, trained, tmp_path):
    """With a learning rate of 0 they are still those at the end; also by groups and from files."""
    source = arrays_of(trained[0], "best")
    still = [*TINY, data, "--config.train.steps=2", "--config.players.vae.learning_rate=0.0"]
    out = run(
        command, *still, f"--config.init_from={trained[0]}", f"--workdir={tmp_path / 'whole'}"
    )
    assert f"step {best_of(trained[0])}, the best by validation" in out
    assert "taken: decoder (6 arrays), encoder (6 arrays)" in out
    assert "not taken: nothing" in out
    whole = arrays_of(tmp_path / "whole")
    assert all(np.array_equal(whole[name], source[name]) for name in source)

    file = tmp_path / "params.safetensors"
    save_params(file, vaejax.load_run(trained[0]).params)
    out = run(
        command,
        *still,
        f"--config.init_from={file}",
        "--config.init_groups=decoder",
        f"--workdir={tmp_path / 'part'}",
    )
    assert "encoder (not in init_groups)" in out
    part = arrays_of(tmp_path / "part")
    equal = {name: np.array_equal(part[name], source[name]) for name in source}
    assert all(same for name, same in equal.items() if name.startswith("decoder"))
    assert not all(same for name, same in equal.items() if name.startswith("encoder"))


@pytest.mark.slow
def test_another_image_size(command, trained, tmp_path):
    """An MLP's first and last layers have other shapes; everything else is taken."""
    other = file_of(tmp_path / "b.npz", size=4)
    flags = [*TINY, other, "--config.train.steps=2", f"--config.init_from={trained[0]}"]
    out = run(command, *flags, f"--workdir={tmp_path / 'run'}")
    (taken,) = (line for line in out.splitlines() if line.startswith("  taken:"))
    (left,) = (line for line in out.splitlines() if line.startswith("  not taken:"))
    assert "decoder (4 of 6 arrays), encoder (5 of 6 arrays)" in taken
    assert "there, " in left


def test_a_fine_tuned_run_resumes_and_frozen_groups_stay(command, data, trained, tmp_path):
    source = arrays_of(trained[0], "best")
    tune = [*TINY, data, f"--config.init_from={trained[0]}", "--config.freeze_groups=encoder"]
    for name, stops in (("a", [8]), ("b", [4, 8])):
        for steps in stops:
            flags = [*tune, f"--config.train.steps={steps}", f"--workdir={tmp_path / name}"]
            out = run(command, *flags)
    assert "init_from" not in out  # a resumed run does not read it
    a, b = (arrays_of(tmp_path / name) for name in "ab")
    assert all(np.array_equal(a[name], b[name]) for name in a)
    moved = {name for name in a if not np.array_equal(a[name], source[name])}
    assert moved == {name for name in a if name.startswith("decoder")}


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
def test_mistakes_are_one_line(command, data, trained, one_line, tmp_path, flags, message):
    places = {"run": trained[0], "data": data.partition("npz:")[2]}
    flags = [flag.format(**places) for flag in flags]
    code, _, err = command(*TINY, data, f"--workdir={tmp_path / 'run'}", *flags)
    assert code == 2
    assert message in one_line(err)


@pytest.mark.slow
def test_a_model_of_a_sweep_is_evaluated_at_its_best(command, data, tmp_path):
    workdir = tmp_path / "sweep"
    flags = [*TINY, data, f"--workdir={workdir}", "--config.sweep.seeds=2"]
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


@pytest.mark.slow
def test_init_from_must_be_the_same_before_the_first_checkpoint(
    command, data, trained, one_line, tmp_path
):
    workdir, file = tmp_path / "run", tmp_path / "params.safetensors"
    flags = [*TINY, data, f"--config.init_from={file}", f"--workdir={workdir}"]
    save_params(file, vaejax.load_run(trained[0], 2).params)
    run(command, *flags, "--config.train.steps=2")
    save_params(file, vaejax.load_run(trained[0], 4).params)
    run(command, *flags, "--config.train.steps=4")  # which goes on from its checkpoint
    shutil.rmtree(workdir / "checkpoints")
    code, _, err = command(*flags)
    assert code == 2
    assert "other parameters than when the run was started" in one_line(err)
