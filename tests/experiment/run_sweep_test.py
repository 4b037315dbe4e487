"""The command that sweeps: what it leaves, and one of its models as a run of its own."""

import json

import numpy as np
import pytest

KL = "players.vae.minimizes.kl"
OVER = f"--config.sweep.grid={KL}=1,4; players.vae.learning_rate=1e-3,3e-3"
SMALL = "--config.model.latent_dim=2"
FURTHER = ["--config.evaluate.mutual_information_samples=16", "--config.evaluate.num_generated=8"]


@pytest.fixture(scope="module")
def swept(command, data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("swept") / "run"
    code, out, err = command(*data, SMALL, OVER, "--config.sweep.seeds=2", f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out


@pytest.fixture(scope="module")
def again(command, data, swept):
    def run(*arguments):
        flags = [*data, SMALL, OVER, "--config.sweep.seeds=2", f"--workdir={swept[0]}"]
        return command(*flags, *arguments)

    return run


@pytest.mark.slow
def test_the_working_directory(swept):
    workdir, out = swept
    names = {
        "config.json",
        "data.json",
        "fingerprint.json",
        "metrics.jsonl",
        "sweep.json",
        "tb",
        "checkpoints",
        "figures",
    }
    assert {file.name for file in workdir.iterdir()} == names
    for name in ("sweep.png", "rate_distortion.png"):
        assert (workdir / "figures" / name).read_bytes().startswith(b"\x89PNG")
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [(r["step"], r["split"], r["model"]) for r in records] == [
        (step, split, model) for step in (2, 4) for split in ("train", "eval") for model in range(8)
    ]
    found = json.loads((workdir / "sweep.json").read_text())
    models, points = found["models"], found["points"]
    assert (found["step"], len(models), len(points)) == (4, 8, 4)
    assert models[7]["settings"] == {KL: 4.0, "players.vae.learning_rate": 3e-3}
    assert not any(m["failed"] for m in models)
    for point in points:
        elbo = [models[i]["metrics"]["elbo"] for i in point["models"]]
        np.testing.assert_allclose(point["metrics"]["elbo"]["mean"], np.mean(elbo))
        half = 12.7062 * np.std(elbo, ddof=1) / 2**0.5  # t of one degree of freedom
        np.testing.assert_allclose(point["metrics"]["elbo"]["half_interval"], half, rtol=1e-4)
        assert f"{point['metrics']['elbo']['mean']:.5g} ± " in out
    assert "8 models, step 4; mean ± 95 % confidence interval" in out


@pytest.mark.slow
def test_one_model_is_a_run_of_its_own(again, command, data, swept, tmp_path):
    annealed = [f"--config.evaluate.annealing.{k}" for k in ("temperatures=3", "examples=4")]
    further = [*FURTHER, *annealed, "--config.evaluate.annealing.chains=2"]
    code, out, err = again("--mode=evaluate", *further)
    assert code == 0, err
    code, out, err = again("--config.sweep.index=3", "--mode=evaluate", *further)
    assert code == 0, err
    folder = swept[0] / "models" / "3"
    metrics = json.loads((folder / "evaluation.json").read_text())
    wanted = json.loads((swept[0] / "sweep.json").read_text())["models"][3]["metrics"]
    assert {k: v for k, v in metrics.items() if k != "step"} == pytest.approx(wanted, abs=1e-4)
    assert {"mutual_information", "sharpness", "annealed/log_likelihood"} <= metrics.keys()
    assert (folder / "figures" / "traversals.png").exists()
    code, out, err = again("--config.sweep.index=3", "--mode=sample", "--config.sample.count=4")
    assert code == 0, err
    assert str(folder / "figures" / "samples.png") in out

    rest = [SMALL, "--config.seed=1", "--config.players.vae.minimizes.kl=1"]
    rest += ["--config.players.vae.learning_rate=3e-3", *further, "--mode=evaluate"]
    code, _, err = command(*data, *rest, f"--workdir={folder}")  # as that of a single run
    assert code == 0, err
    code, _, err = command(*data, *rest[:-1], f"--workdir={tmp_path / 'alone'}")
    assert code == 0, err
    alone = json.loads((tmp_path / "alone" / "evaluation.json").read_text())
    assert metrics == pytest.approx(alone, abs=1e-4)


def test_chosen_figures_and_another_chunk(again):
    flags = ["--config.sweep.metrics=mse", "--config.sweep.chunk=1"]
    code, out, err = again("--mode=evaluate", *flags)
    assert code == 0, err
    assert "mse" in out
    assert "elbo" not in out


@pytest.mark.slow
def test_every_model_is_asked_what_the_config_asks(again, swept):
    code, out, err = again("--mode=evaluate", *FURTHER, "--config.evaluate.figures=False")
    assert code == 0, err
    assert "mutual_information" in out
    assert "Figures" not in out
    models = json.loads((swept[0] / "sweep.json").read_text())["models"]
    for name in ("mutual_information", "sharpness"):
        values = [m["metrics"][name] for m in models]
        assert len(set(values)) == len(models)
        assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--config.sweep.grid=players.vae.minimizes.kll=1", "did you mean 'kl'"),
        ("--config.sweep.grid=model.latent_dim=1,2", "cannot sweep over model.latent_dim: it"),
        ("--config.sweep.grid=players.vae.learning_rate=a", "NAME=NUMBER"),
        ("--config.sweep.seeds=0", "sweep.seeds must be at least 1"),
        ("--config.sweep.metrics=elob", "did you mean 'elbo'"),
        ("--config.sweep.index=9", "the models 0 to 7"),
        ("--mode=sample", "--config.sweep.index=N, N from 0 to 7"),
    ],
)
def test_mistakes(again, one_line, flag, told):
    code, _, err = again(flag)
    assert code == 2
    assert told in one_line(err)


def test_another_sweep_is_refused(again, command, data, swept):
    code, _, err = again("--config.sweep.seeds=3")
    assert code == 2
    assert "  sweep.seeds: 2 -> 3\n" in err
    code, _, err = command(*data, SMALL, f"--workdir={swept[0]}")
    assert code == 2
    assert "belongs to a run with another configuration" in err
