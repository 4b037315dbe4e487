"""A classifier from the shell, and a model of the same images judged by what it sees."""

import json

import numpy as np
import pytest

CLASSIFIER = "--config=configs/classifier.py"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two kinds that a few steps tell apart, 40 of them held out."""
    file = tmp_path_factory.mktemp("images") / "halves.npz"
    label = np.arange(400) % 2
    image = np.random.RandomState(0).rand(400, 8, 8, 1) < 0.2
    image[label == 1, :4] = True
    np.savez(file, image=image, label=label)
    return f"--config.data.source=npz:{file}"


@pytest.fixture(scope="module")
def judge(command, data, images, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("judge") / "run"
    flags = [CLASSIFIER, *data[1:-1], images, "--config.train.steps=40"]
    flags += ["--config.players.classifier.learning_rate.start=3e-3"]
    code, _, err = command(*flags, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, flags


@pytest.mark.slow
def test_a_classifier_is_trained_like_everything_else(judge, command, one_line):
    workdir, flags = judge
    metrics = json.loads((workdir / "evaluation.json").read_text())
    assert metrics["accuracy"] > 0.9
    assert metrics["elbo"] == pytest.approx(-metrics["nll"])
    assert metrics["nll"] < np.log(2) / 2
    assert [file.name for file in (workdir / "figures").iterdir()] == ["losses.png"]
    code, _, err = command(*flags, f"--workdir={workdir}", "--mode=sample")
    assert code == 2
    assert "a classifier generates nothing" in one_line(err)


@pytest.mark.slow
def test_samples_are_judged_by_it(judge, command, data, images, tmp_path):
    flags = [
        *data[:-1],
        images,
        "--config.evaluate.num_generated=100",
        "--config.evaluate.figures=False",
        f"--workdir={tmp_path / 'vae'}",
    ]
    code, out, err = command(*flags, f"--config.evaluate.feature_extractor={judge[0]}")
    assert code == 0, err
    metrics = json.loads((tmp_path / "vae" / "evaluation.json").read_text())
    names = {"precision", "recall", "density", "coverage", "sharpness"}
    assert {"frechet", "frechet/reconstructions", *names} <= metrics.keys()
    assert metrics["frechet"] > 0
    assert "coverage" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["num_generated=0"], "set evaluate.num_generated, for example to 5000"),
        (
            ["feature_extractor=nowhere"],
            "evaluate.feature_extractor=nowhere is neither the --workdir of a class",
        ),
        (["feature_extractor=nowhere.npz"], "evaluate.feature_extractor: no file nowhere.npz"),
        (["num_generated=2"], "evaluate.num_generated must be more than 3"),
    ],
)
def test_errors_come_before_any_training(
    judge, command, one_line, data, images, flags, message, tmp_path
):
    asked = [f"feature_extractor={judge[0]}", "num_generated=100", *flags]
    flags = [*data[:-1], images, *(f"--config.evaluate.{flag}" for flag in asked)]
    code, _, err = command(*flags, f"--workdir={tmp_path / 'run'}")
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert message in one_line(err)


def test_another_kind_of_images_or_of_run(judge, command, one_line, data, tmp_path):
    asked = [
        f"--config.evaluate.feature_extractor={judge[0]}",
        "--config.evaluate.num_generated=10",
    ]
    flags = ["--config=configs/beta_vae.py", "--config.mesh.data=1", *asked]
    code, _, err = command(*flags, f"--workdir={tmp_path / 'run'}")
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert "was trained on images (8, 8, 1), these are (64, 64, 1)" in one_line(err)
