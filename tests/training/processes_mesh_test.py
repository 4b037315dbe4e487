"""Two processes with sharded parameters against one: a tensor axis, and runs that go on."""

import numpy as np
import pytest

from tests.training.processes import assert_close, job, records, run_jobs

SHORT = {
    "data.holdout": 0.4,
    "train.batch_size": 8,
    "train.steps": 4,
    "train.steps_per_dispatch": 2,
    "train.log_every": 2,
    "train.checkpoint_every": 2,
    "evaluate.figures": False,
    "sample.count": 4,
}
# Kernels of 64 × 64, which are not too small to be sharded.
DENSE = {"model.network": {"kind": "mlp", "hidden": (64,)}, "model.latent_dim": 3}


def common(folder):
    """The fields of every run, whose data are 40 images in a file."""
    file, random = folder / "tiny.npz", np.random.RandomState(0)
    np.savez(file, image=random.rand(40, 8, 8, 1) < 0.5, label=np.arange(40) % 3)
    return {**SHORT, "data.source": f"npz:{file}"}


def assert_equal_records(folders, names):
    """The records of two processes are those of one, and there are some."""
    for name in names:
        expected, actual = (records(folder / name) for folder in folders)
        assert len(expected) > 2
        assert_close(actual, expected, name)


def run_both(jobs_of, folder):
    """Does the jobs in one process, and with a mesh in two; returns the folders and outputs."""
    folders, outputs = [folder / "one", folder / "two"], []
    for count, own in enumerate(folders, start=1):
        own.mkdir()
        outputs.append(run_jobs(count, jobs_of(own, count), own))
    return folders, outputs


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_tensor_axis_over_two_processes(tmp_path):
    def jobs_of(folder, count):
        mesh = {"mesh.tensor": count}
        of_prior = {f"second_stage.{k}": v for k, v in SHORT.items() if k.startswith("train.")}
        of_prior |= {"second_stage.model.network.width": 64}
        of_prior |= {"second_stage.model.network.layers": 1}
        codes = {
            "model.quantizer.codes": 1024,
            "model.quantizer.dim": 4,
            "model.quantizer.start": "normal",
            "model.network.hidden": 8,
            "model.network.downsamplings": 2,
        }
        wide = {**DENSE, "model.discriminator": {"hidden": (64, 64, 64)}}
        shared = common(folder) | mesh
        return [
            job("vqvae", folder / "vqvae", **shared, **codes, **of_prior),
            job("factor_vae", folder / "factor_vae", **shared, **wide),
        ]

    folders, _ = run_both(jobs_of, tmp_path)
    assert_equal_records(folders, ["vqvae", "factor_vae"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_other_settings_and_initial_parameters(tmp_path):
    def jobs_of(folder, count):
        fields = common(folder) | DENSE | {"mesh.fsdp": count, "train.ema_decay": 0.9}
        first = job("beta_vae", folder / "first", **fields)
        goes_on = {**fields, "train.steps": 8, "players.vae.learning_rate": 1e-2}
        again = job("beta_vae", folder / "first", **goes_on)
        again["allow_change"] = ["players.vae.learning_rate", "train.steps"]
        tuned = {**fields, "init_from": str(folder / "first"), "init_groups": "encoder"}
        return [first, again, job("beta_vae", folder / "tuned", **tuned)]

    folders, outputs = run_both(jobs_of, tmp_path)
    assert_equal_records(folders, ["first", "tuned"])
    assert records(folders[1] / "first")[-2]["step"] == 8
    for printed in outputs:
        assert "init_from=" in printed[0]
    assert "init_from=" not in "".join(outputs[1][1:]).replace("'init_from", "")
