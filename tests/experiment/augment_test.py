"""Augmented runs: evaluation and resuming are untouched, sweeps have the same batches."""

import json

import numpy as np
import pytest

from tests.training.conftest import SHAPE, source  # noqa: F401
from vaejax.core.sharding import make_mesh
from vaejax.data.augment import Augmentation
from vaejax.families import beta_vae
from vaejax.optimizers.build import players
from vaejax.sweeps import Sweep, product, select
from vaejax.training import Settings, Trainer

FLAGS = ("--config.data.augment.flip=horizontal", "--config.data.augment.shift=2")
QUIET = "--config.evaluate.figures=False"


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_only_training_is_augmented_and_resuming_is_exact(command, data, tmp_path):
    """With a learning rate of 0 every evaluation is that of the first parameters."""
    still = [*data, QUIET, "--config.players.vae.learning_rate=0.0"]
    plain, once, twice = (tmp_path / name for name in ("plain", "once", "twice"))
    assert command(*still, f"--workdir={plain}")[0] == 0
    assert command(*still, *FLAGS, f"--workdir={once}")[0] == 0
    assert command(*still, *FLAGS, f"--workdir={twice}", "--config.train.steps=2")[0] == 0
    assert command(*still, *FLAGS, f"--workdir={twice}")[0] == 0
    evaluations = [json.loads((w / "evaluation.json").read_text()) for w in (plain, once, twice)]
    assert evaluations[0] == evaluations[1] == evaluations[2]
    nll = [[r["nll"] for r in records(w) if r["split"] == "train"] for w in (plain, once, twice)]
    assert nll[1] == nll[2]
    assert nll[0] != nll[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.data.augment.flip=left"], "data.augment.flip must be none, horizontal"),
        (["--config.data.augment.shift=8"], "less than the images"),
        (["--config.data.augment.scale=2"], "config.data.augment has no field 'scale'"),
        (
            ["--config.data.source=oscillator", "--config.data.augment.flip=both"],
            "data.augment.flip=both is for images",
        ),
    ],
)
def test_impossible_settings_end_in_one_line(command, one_line, data, tmp_path, flags, message):
    code, _, err = command(*data, *flags, f"--workdir={tmp_path / 'run'}")
    assert code == 2
    assert message in one_line(err)
    assert not (tmp_path / "run").exists()


def test_noise_outside_of_the_support_ends_in_one_line(command, one_line, data, tmp_path):
    bits = np.random.RandomState(0).rand(40, 16) < 0.5
    np.savez(tmp_path / "bits.npz", signal=bits)
    flags = ["--config.model.likelihood=bernoulli", "--config.data.augment.noise=0.1"]
    code, _, err = command(
        *data,
        f"--config.data.source=npz:{tmp_path / 'bits.npz'}",
        *flags,
        f"--workdir={tmp_path}/r",
    )
    assert code == 2
    assert "the likelihood is for values in [0, 1], but with data.augment.noise=0.1" in one_line(
        err
    )


@pytest.mark.slow
def test_the_models_of_a_sweep_see_the_batches_of_runs_of_their_own(source):  # noqa: F811
    settings = Settings(steps=4, batch_size=8, steps_per_dispatch=4, log_every=4)
    augment = Augmentation("both", 0.8, 2, 0.1, 0.05)

    def make(values):
        vae = {"minimizes": {"nll": 1.0, "kl": values["beta"]}, "learning_rate": 1e-3}
        network = {"kind": "mlp", "hidden": (8,)}
        return beta_vae(SHAPE, players({"vae": vae}), latent_dim=2, network=network)

    options = {"mesh": make_mesh(1), "augment": augment}
    sweep = Sweep(make, product({"beta": (1.0,)}, (0, 3)), source(), settings, **options)
    batches = dict(sweep.loader.batches([(0, 4)]))
    _, metrics = sweep.dispatch(sweep.init(), (0, 4), batches[0, 4])
    trainer = Trainer(make({"beta": 1.0}), source(), settings, seed=3, **options)
    batches = dict(trainer.loader.batches([(0, 4)]))
    _, alone = trainer.dispatch(trainer.init(), (0, 4), batches[0, 4])
    for name in ("nll", "kl", "grad_norm"):
        actual = np.asarray(select(metrics, 1)[name])
        np.testing.assert_allclose(actual, np.asarray(alone[name]), rtol=1e-5)
