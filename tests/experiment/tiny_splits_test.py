"""Splits of one example: every metric and figure is computed or left out, nothing crashes."""

import json

import numpy as np
import PIL.Image
import pytest

RANDOM = np.random.RandomState(0)
SHORT = [
    *("--config.train.steps=2", "--config.train.log_every=2", "--config.train.checkpoint_every=1"),
    *("--config.train.batch_size=16", "--config.train.steps_per_dispatch=1"),
    "--config.mesh.data=1",
]
MLP = ["--config.model.network.kind=mlp", "--config.model.latent_dim=3"]
FAMILIES = {
    "beta_vae": ["--config=configs/beta_vae.py", *MLP],
    "cvae": ["--config=configs/cvae.py", *MLP],
    "vqvae": [
        *("--config=configs/vqvae.py", "--config.second_stage.family="),
        *("--config.model.network.hidden=8", "--config.model.network.downsamplings=1"),
        "--config.model.quantizer.codes=16",
    ],
}


def save(folder, count):
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = RANDOM.randint(0, 256, (8, 8), np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """One held-out image; one image in all; one example of each class."""
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "cache"))
    save(tmp_path / "held" / "train", 5)
    save(tmp_path / "held" / "test", 1)
    save(tmp_path / "single", 1)
    for name in "abc":
        save(tmp_path / "classes" / name, 1)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "data", "flags"),
    [
        ("beta_vae", "held", ["--config.evaluate.importance_samples=2"]),
        ("beta_vae", "single", ["--config.data.holdout=0"]),
        ("beta_vae", "classes", ["--config.evaluate.mutual_information_samples=4"]),
        ("cvae", "classes", []),
        ("vqvae", "held", []),
        ("vqvae", "single", ["--config.data.holdout=0"]),
        ("cvae", "classes", ["--config.data.holdout=0"]),
    ],
)
def test_a_run_on_a_few_images_ends_with_finite_metrics(command, folders, family, data, flags):
    workdir = folders / "run"
    code, _, err = command(
        *FAMILIES[family], *SHORT, f"--config.data.source=folder:{folders / data}", *flags,
        f"--workdir={workdir}",
    )  # fmt: skip
    assert code == 0, err
    metrics = json.loads((workdir / "evaluation.json").read_text())
    assert np.isfinite(metrics["elbo"])
    not_finite = [name for name, value in metrics.items() if not np.isfinite(value)]
    assert not not_finite
    assert (workdir / "figures" / "reconstructions.png").exists()


def test_one_image_and_a_held_out_fraction_end_in_one_line(command, one_line, folders):
    code, _, err = command(
        *FAMILIES["beta_vae"], *SHORT, f"--config.data.source=folder:{folders / 'single'}",
        f"--workdir={folders / 'run'}",
    )  # fmt: skip
    assert code == 2
    assert "data.holdout=0" in err
