"""Tables with missing values, sequences of different lengths, and few labels, from the shell."""

import json

import numpy as np
import pytest

import vaejax
from vaejax.data import from_arrays
from vaejax.data.spec import spec_of
from vaejax.experiment.user_arrays import event_fields

SHORT = [
    *("--config.train.steps=4", "--config.train.log_every=2", "--config.train.batch_size=8"),
    *("--config.train.checkpoint_every=4", "--config.evaluate.figures=False"),
]
MLP = "--config.model.network.kind=mlp"
RANDOM = np.random.RandomState(0)
TABLE = np.where(RANDOM.uniform(size=(60, 4)) < 0.7, RANDOM.normal(size=(60, 4)), np.nan)
CONFIG = '''
"""A table."""
from vaejax.experiment.config_defaults import defaults

def get_config():
    config = defaults("beta_vae")
    config.model = {"latent_dim": 2, "network": {"kind": "mlp", "hidden": (8,), "mask_input": True}}
    config.model.likelihood = {"kind": "normal", "scale": "learned"}
    config.players.vae = {"minimizes": {"nll": 1.0, "kl": 1.0}, "learning_rate": 1e-3}
    return config
'''


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    np.savez(folder / "table.npz", vector=TABLE)
    (folder / "table.py").write_text(CONFIG)
    return folder


def flags(files):
    return [f"--config={files / 'table.py'}", f"--config.data.source=npz:{files / 'table.npz'}"]


def test_missing_values_are_refused_by_default(command, one_line, files, tmp_path):
    code, _, err = command(*flags(files), *SHORT, f"--workdir={tmp_path / 'run'}")
    assert code == 2
    assert "or use data.missing=mask" in one_line(err)


def test_a_table_with_missing_values_is_trained_and_filled_in(command, files, tmp_path):
    run = tmp_path / "run"
    code, _, err = command(
        *flags(files), *SHORT, "--config.data.missing=mask", f"--workdir={run}"
    )  # fmt: skip
    assert code == 0, err
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert all(np.isfinite(value) for value in evaluation.values())
    trained = vaejax.load_run(run)
    scores = trained.score(TABLE)
    assert all(np.isfinite(value).all() for value in scores.values())
    complete = trained.reconstruct(TABLE)
    assert complete.shape == TABLE.shape
    assert np.isfinite(complete).all()
    one = np.flatnonzero(np.isnan(TABLE).any(axis=1))[0]
    np.testing.assert_allclose(trained.reconstruct(TABLE[one]), complete[one], rtol=1e-5)
    more = np.where(np.isnan(TABLE), 3.0, TABLE)
    assert not np.allclose(trained.encode(more)[one], trained.encode(TABLE)[one])


def spec(**arrays):
    return spec_of(from_arrays(arrays, holdout=0))


def test_events_of_different_lengths_are_padded_to_those_of_the_run():
    rows = [RANDOM.normal(size=(n, 2)).astype(np.float32) for n in (3, 5, 2)]
    form = spec(signal=rows)
    for x, lengths in ((rows, [3, 5, 2]), (np.stack([rows[0]] * 2), [3, 3])):
        fields, single = event_fields(form, x)
        assert not single
        assert fields["signal"].shape == (len(lengths), 5, 2)
        np.testing.assert_array_equal(fields["mask"].sum(axis=1), lengths)
    fields, single = event_fields(form, rows[2])
    assert single
    np.testing.assert_array_equal(fields["mask"], [[1, 1, 0, 0, 0]])
    tokens = spec(tokens=[[1, 2, 0], [2]])
    fields, single = event_fields(tokens, np.array([1, 2]))
    assert single
    np.testing.assert_array_equal(fields["tokens"], [[1, 2, 0]])
    with pytest.raises(ValueError, match="example 0 of 'x' has the length 6"):
        event_fields(form, [np.zeros((6, 2), np.float32)])


@pytest.mark.slow
def test_few_labels(command, tmp_path):
    run = tmp_path / "run"
    code, _, err = command("--config=configs/m2.py", *SHORT, MLP, f"--workdir={run}")
    assert code == 0, err
    assert 0 <= json.loads((run / "evaluation.json").read_text())["error"] <= 1
    trained = vaejax.load_run(run)
    images = np.zeros((3, 64, 64), np.uint8)
    np.testing.assert_allclose(trained.classify(images).sum(axis=1), 1.0, rtol=1e-5)
    assert trained.sample(3, condition=[0, 1, 2]).shape == (3, 64, 64, 1)
    assert trained.encode(images).shape == (3, 10)
    given, unknown = (trained.score(images, condition=c)["elbo"] for c in (1, None))
    assert not np.allclose(given, unknown)
