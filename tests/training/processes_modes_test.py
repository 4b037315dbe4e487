"""Metrics after training, latents, and a prior of a trained run: two processes against one."""

import numpy as np
import pytest

from tests.training.processes import assert_close, job, records, run_jobs

SHORT = {
    "train.batch_size": 8,
    "train.steps": 4,
    "train.steps_per_dispatch": 2,
    "train.log_every": 2,
    "train.checkpoint_every": 2,
    "evaluate.figures": False,
}


def jobs_of(folder):
    """A classifier, a β-VAE with every metric, its latents, and a prior over them."""
    file, random = folder / "tiny.npz", np.random.RandomState(0)
    factors = np.stack([np.arange(40) % 2, np.arange(40) % 5], axis=1)
    image = random.rand(40, 16, 16, 1) < 0.5
    np.savez(file, image=image, label=np.arange(40) % 3, factors=factors)
    common = {**SHORT, "data.source": f"npz:{file}", "data.holdout": 0.4}
    changes = {
        **common,
        "model.network": {"kind": "mlp", "hidden": (16,)},
        "model.latent_dim": 3,
        "evaluate.importance_samples": 4,
        "evaluate.mutual_information_samples": 16,
        "evaluate.num_generated": 16,
        "evaluate.feature_extractor": str(folder / "classifier"),
        "evaluate.disentanglement": True,
        "evaluate.annealing.temperatures": 4,
        "evaluate.annealing.chains": 2,
        "evaluate.annealing.leapfrog": 2,
        "evaluate.annealing.examples": 8,
    }
    prior = {**SHORT, "first_stage": str(folder / "beta_vae")}
    return [
        job("classifier", folder / "classifier", **common),
        job("beta_vae", folder / "beta_vae", **changes),
        job("beta_vae", folder / "beta_vae", "encode", **changes),
        job("prior:mixture", folder / "prior", **prior),
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_metrics_latents_and_a_prior(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for count, folder in enumerate(folders, start=1):
        folder.mkdir()
        run_jobs(count, jobs_of(folder), folder)
    for name in ("classifier", "beta_vae", "prior"):
        expected, actual = (records(folder / name) for folder in folders)
        assert len(expected) == 5
        assert_close(actual, expected, name)
    expected, actual = (dict(np.load(f / "beta_vae" / "latents.npz")) for f in folders)
    assert expected["mean"].shape == (16, 3)
    assert expected.keys() == actual.keys()
    for field, values in expected.items():
        np.testing.assert_allclose(actual[field], values, rtol=1e-5, atol=1e-6, err_msg=field)
