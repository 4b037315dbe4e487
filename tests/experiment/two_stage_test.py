"""A prior from the shell: learned for a trained run, judged with it, drawn through it."""

import json
import shutil

import numpy as np
import pytest

TRAIN = [
    "--config.train.steps=4",
    "--config.train.batch_size=8",
    "--config.train.steps_per_dispatch=2",
    "--config.train.log_every=2",
    "--config.train.checkpoint_every=2",
    "--config.mesh.data=1",
]
VQVAE = ["--config=configs/vqvae.py", *TRAIN, "--config.model.network.hidden=8"]
VQVAE += ["--config.model.quantizer.codes=6", "--config.model.quantizer.dim=4"]
VQVAE += ["--config.model.network.downsamplings=2", "--config.second_stage.family="]
PRIOR = ["--config=configs/prior.py", *TRAIN, "--config.sample.count=6"]
PRIOR += ["--config.model.network.width=16", "--config.model.network.layers=1"]
NO_FIGURES = "--config.evaluate.figures=False"
MIXTURE = ["--config=configs/prior.py:mixture", *TRAIN, "--config.model.components=2"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    file = tmp_path_factory.mktemp("images") / "tiny.npz"
    image = np.random.RandomState(0).rand(40, 8, 8, 1) < 0.5
    np.savez(file, image=image, label=np.arange(40) % 3)
    return f"--config.data.source=npz:{file}"


@pytest.fixture(scope="module")
def vqvae(command, images, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("first") / "vqvae"
    code, _, err = command(*VQVAE, images, NO_FIGURES, f"--workdir={workdir}")
    assert code == 0, err
    return workdir


@pytest.fixture(scope="module")
def prior(command, vqvae, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("second") / "prior"
    code, out, err = command(*PRIOR, f"--config.first_stage={vqvae}", f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out


@pytest.mark.slow
def test_the_working_directory_of_a_prior(prior, vqvae, images):
    workdir, out = prior
    config = json.loads((workdir / "config.json").read_text())
    assert (config["first_stage"], config["first_stage_step"]) == (str(vqvae), 4)
    assert config["data"]["source"] == images.partition("=")[2]
    result = json.loads((workdir / "evaluation.json").read_text())
    assert {"nll", "nll_codes", "elbo", "elbo_gain", "bits_per_code", "accuracy"} <= set(result)
    assert result["elbo"] == pytest.approx(-result["nll"] - result["nll_codes"], rel=1e-5)
    assert {"elbo/class_1", "elbo/class_2"} <= set(result)  # the four held out have no others
    names = {"reconstructions.png", "samples.png", "samples_uniform.png", "codes.png", "losses.png"}
    assert {file.name for file in (workdir / "figures").iterdir()} == names
    assert "36 to train on, 4 to evaluate on" in out


@pytest.mark.slow
def test_sample_and_evaluate(command, prior, vqvae):
    workdir, _ = prior
    before = (workdir / "evaluation.json").read_text()
    (workdir / "figures" / "samples.png").unlink()
    flags = [*PRIOR, f"--config.first_stage={vqvae}", f"--workdir={workdir}"]
    more = ["--config.sample.top_p=0.5", "--config.sample.top_k=2"]
    code, out, err = command(*flags, *more, "--mode=sample")
    assert code == 0, err
    assert str(workdir / "figures" / "samples.png") in out
    assert (workdir / "figures" / "samples.png").exists()
    (workdir / "evaluation.json").unlink()
    code, _, err = command(*flags, NO_FIGURES, "--mode=evaluate")
    assert code == 0, err
    assert (workdir / "evaluation.json").read_text() == before


@pytest.mark.slow
def test_a_run_that_went_on_is_another_run(command, prior, vqvae, tmp_path):
    moved = tmp_path / "vqvae"
    shutil.copytree(vqvae, moved)
    flags = [*PRIOR, f"--config.first_stage={moved}", f"--workdir={tmp_path / 'prior'}"]
    assert command(*flags, NO_FIGURES, "--config.first_stage_step=2")[0] == 0
    code, _, err = command(*flags)
    assert code == 2
    assert "first_stage_step: 2 -> 4" in err
    code, _, err = command(*flags, "--config.first_stage_step=3")
    assert code == 2
    assert f"{moved} has no checkpoint of step 3; its checkpoints are [2, 4]" in err
    workdir = tmp_path / "mixture"
    code, _, err = command(*MIXTURE, f"--config.first_stage={moved}", f"--workdir={workdir}")
    assert (code, workdir.exists()) == (2, False)
    assert "a Gaussian mixture takes vectors, found codes" in err


@pytest.mark.slow
def test_a_mixture_of_the_latents_of_a_vae(command, data, tmp_path, one_line):
    first, workdir = tmp_path / "vae", tmp_path / "mixture"
    code, _, err = command(*data, NO_FIGURES, f"--workdir={first}")
    assert code == 0, err
    flags = [*MIXTURE, f"--config.first_stage={first}", f"--workdir={workdir}"]
    code, _, err = command(*flags, "--config.evaluate.importance_samples=4")
    assert code == 0, err
    result = json.loads((workdir / "evaluation.json").read_text())
    assert {"nll", "kl", "elbo", "elbo_gain", "log_likelihood"} <= set(result)
    assert (workdir / "figures" / "samples_own_prior.png").exists()
    no = f"--workdir={tmp_path / 'no'}"
    code, _, err = command(*PRIOR, f"--config.first_stage={first}", no)
    assert code == 2
    assert "a prior over codes needs codes as data, found events of shape (10,)" in one_line(err)


@pytest.mark.parametrize(
    "flags",
    [pytest.param(PRIOR, id="codes"), pytest.param(MIXTURE, id="vectors")],
)
@pytest.mark.slow
def test_without_a_trained_run_it_learns_from_data_made_on_the_spot(command, flags, tmp_path):
    code, _, err = command(*flags, f"--workdir={tmp_path / 'run'}")
    assert code == 0, err
    result = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert result["elbo"] == pytest.approx(-result["nll"])
    assert result["kl"] == 0
    code, out, err = command(*flags, f"--workdir={tmp_path / 'run'}", "--mode=sample")
    assert code == 0, err
    files = {file.name for file in (tmp_path / "run" / "figures").iterdir()}
    if flags is MIXTURE:
        assert str(tmp_path / "run" / "samples.csv") in out
        assert files == {"losses.png"}  # rows of a table have no figure
        return
    assert files == {"losses.png", "samples.txt"}
    drawn = (tmp_path / "run" / "figures" / "samples.txt").read_text().splitlines()
    maps = [line.split() for line in drawn if len(line.split()) == 36]
    assert len(maps) == 6
    assert {int(word) for line in maps for word in line} <= set(range(16))


def test_where_there_is_no_run(command, one_line, tmp_path):
    for missing in (tmp_path, tmp_path / "nothing"):
        flags = [f"--config.first_stage={missing}", f"--workdir={tmp_path / 'prior'}"]
        code, _, err = command(*PRIOR, *flags)
        assert code == 2
        assert f"{missing} has no checkpoint; pass the --workdir of a finished" in one_line(err)
    assert not (tmp_path / "prior").exists()


@pytest.mark.slow
def test_a_conditional_model_is_refused(command, one_line, images, tmp_path):
    first = tmp_path / "cvae"
    mlp = "--config.model.network.kind=mlp"
    cvae = ["--config=configs/cvae.py", *TRAIN, mlp, images]
    code, _, err = command(*cvae, NO_FIGURES, f"--workdir={first}")
    assert code == 0, err
    flags = [f"--config.first_stage={first}", f"--workdir={tmp_path / 'prior'}"]
    code, _, err = command(*MIXTURE, *flags)
    assert code == 2
    assert f"first_stage={first} is a conditional model" in one_line(err)
