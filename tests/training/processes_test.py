"""Two and four processes with one device each against one process: one run, the same numbers."""

import numpy as np
import pytest

from tests.training.processes import assert_close, job, records, run_jobs

TINY = {
    "train.batch_size": 8,
    "train.steps": 4,
    "train.steps_per_dispatch": 2,
    "train.log_every": 2,
    "train.checkpoint_every": 2,
    "sample.count": 4,
    "evaluate.figures": False,
}
DENSE = {"kind": "mlp", "hidden": (64,)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """An npz file of 40 images with labels and factors."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    random = np.random.RandomState(0)
    factors = np.stack([np.arange(40) % 2, np.arange(40) % 5], axis=1)
    np.savez(path, image=random.rand(40, 8, 8, 1) < 0.5, label=np.arange(40) % 3, factors=factors)
    return path


def all_jobs(data, folder):
    """A run of each kind, by name."""
    common = {**TINY, "data.source": f"npz:{data}", "data.holdout": 0.4}
    networks = {"model.network": DENSE, "model.latent_dim": 3}
    small = {"model.quantizer.codes": 6, "model.quantizer.dim": 4, "model.network.hidden": 8}
    of_prior = {f"second_stage.{k}": v for k, v in TINY.items() if k.startswith("train.")}
    of_prior |= {"second_stage.model.network.width": 16, "second_stage.model.network.layers": 1}
    ladder = {"kind": "dense", "latent_dims": (2, 3), "hidden": (16, 32)}
    changes = {
        "beta_vae": {
            **networks,
            "data.binarize": "dynamic",
            "evaluate.figures": True,
            "evaluate.importance_samples": 4,
        },
        "vqvae": {**small, **of_prior, "evaluate.figures": True},
        "factor_vae": {**networks, "model.discriminator": {"hidden": (16,)}},
        "hierarchical": {"model.network": ladder, "model.merge": "precision"},
    }
    jobs = {name: job(name, folder / name, **(common | own)) for name, own in changes.items()}
    jobs["vqvae"]["changes"]["model.network.downsamplings"] = 2
    grid = {"sweep.grid": "players.vae.minimizes.kl=1,4", "sweep.seeds": 2, **networks}
    jobs["sweep"] = job("beta_vae", folder / "sweep", **(common | grid))
    jobs["model"] = job("beta_vae", folder / "sweep", **(common | grid | {"sweep.index": 1}))
    return jobs


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    run_jobs(1, list(all_jobs(data, folder).values()), folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_agree_with_one(alone, data, tmp_path, count):
    jobs = all_jobs(data, tmp_path)
    run_jobs(count, list(jobs.values()), tmp_path)
    for name in jobs:
        expected = records(alone / name)
        assert expected
        assert_close(records(tmp_path / name), expected, name)
        figures = [sorted(p.name for p in (f / name).rglob("*.png")) for f in (alone, tmp_path)]
        assert figures[0] == figures[1]
