"""Data outside of the support of a likelihood, or far from unit scale."""

import json

import numpy as np
import pytest

import vaejax

RANDOM = np.random.RandomState(0)
NAMES = np.array(["age", "price"])
SCORES = RANDOM.randn(40, 2)
COUNTS = RANDOM.poisson(3.0, (40, 2))
GREY = RANDOM.rand(40, 8, 8)
VECTORS = {"kind": "mlp", "hidden": (8,)}
REFUSED = {
    "bernoulli of z-scores": (
        "bernoulli",
        {"vector": SCORES, "column_names": NAMES},
        "column 'age",
    ),
    "bernoulli of bytes": ("bernoulli", {"vector": COUNTS.astype(np.uint8)}, "values in [0, 1]"),
    "fractions": ("negative_binomial", {"vector": COUNTS + 0.5}, "counts 0, 1, 2"),
    "negative counts": ("negative_binomial", {"vector": COUNTS - 9}, "range from -9 to"),
    "off the grid": ("discretized_logistic", {"image": GREY}, "256 equally spaced levels"),
    "only in the held-out split": (
        "negative_binomial",
        {"train_vector": COUNTS, "test_vector": COUNTS - 1},
        "(eval split) holds -1",
    ),
    "signals": ("bernoulli", {"signal": RANDOM.randn(40, 8, 2)}, "the signals range from"),
}


@pytest.fixture
def train(command, tmp_path):
    """Trains a few steps on arrays: exit status, standard error, working directory."""

    def run(arrays, *flags, likelihood="normal", folder="run"):
        np.savez(tmp_path / f"{folder}.npz", **arrays)
        code, _, err = command(
            "--config=configs/beta_vae.py",
            f"--config.data.source=npz:{tmp_path / folder}.npz",
            f"--config.model.network={VECTORS}",
            f"--config.model.likelihood={likelihood}",
            "--config.model.latent_dim=2",
            *("--config.train.steps=4", "--config.train.batch_size=8"),
            *("--config.train.log_every=2", "--config.train.checkpoint_every=4"),
            *("--config.train.steps_per_dispatch=2", "--config.mesh.data=1"),
            "--config.evaluate.figures=False",
            *flags,
            f"--workdir={tmp_path / folder}",
        )
        return code, err, tmp_path / folder

    return run


@pytest.mark.parametrize("case", REFUSED)
def test_data_outside_of_the_support_end_in_one_line(train, one_line, case):
    likelihood, arrays, message = REFUSED[case]
    code, err, workdir = train(arrays, likelihood=likelihood)
    assert code == 2
    line = one_line(err)
    assert message in line
    assert repr(likelihood) in line
    assert not workdir.exists()


def elbo(workdir):
    return json.loads((workdir / "evaluation.json").read_text())["elbo"]


def raw_table(examples=150):
    """Columns as in scikit-learn's wine and breast cancer data: correlated, of any scale."""
    random = np.random.RandomState(1)
    z = random.randn(examples, 2) @ random.randn(2, 5) + 0.5 * random.randn(examples, 5)
    return z * [0.02, 1.0, 300.0, 1e5, 5.0] + [0.1, 0.0, 750.0, 4e5, 2023.0]


@pytest.mark.slow
def test_raw_columns_train_as_standardised_ones_and_the_elbo_differs_by_their_logarithms(train):
    raw = raw_table().astype(np.float32)
    rows, held_out = raw[:120], raw[120:]
    mean, scale = rows.astype(np.float64).mean(axis=0), rows.astype(np.float64).std(axis=0)
    steps = ["--config.train.steps=30", "--config.train.checkpoint_every=30"]
    code, err, first = train({"train_vector": rows, "test_vector": held_out}, *steps, folder="raw")
    assert code == 0, err
    by_hand = {f"{k}_vector": (v - mean) / scale for k, v in (("train", rows), ("test", held_out))}
    flags = (*steps, "--config.data.standardize=False")
    code, err, second = train(by_hand, *flags, folder="by_hand")
    assert code == 0, err
    expected = elbo(second) - np.log(scale).sum()
    np.testing.assert_allclose(elbo(first), expected, rtol=1e-4)
    run = vaejax.load_run(first)
    scores = run.score(held_out[:4])
    np.testing.assert_allclose(scores["elbo"], -(scores["nll"] + scores["kl"]), rtol=1e-5)
    # The model of standardised columns, in the units of the data.
    other = vaejax.load_run(second)
    np.testing.assert_allclose(
        run.encode(held_out[:4]), other.encode(by_hand["test_vector"][:4]), atol=2e-3
    )
    np.testing.assert_allclose(
        (run.reconstruct(held_out[:4]) - mean) / scale,
        other.reconstruct(by_hand["test_vector"][:4]),
        atol=2e-3,
    )
    np.testing.assert_allclose(
        (run.sample(5, seed=3) - mean) / scale, other.sample(5, seed=3), atol=2e-3
    )


def test_without_standardisation_the_line_names_the_column(train, one_line):
    vector = np.stack([SCORES[:, 0], np.where(SCORES[:, 1] > 0, 1e17, -1e17)], axis=1)
    code, err, _ = train(
        {"vector": vector, "column_names": NAMES},
        *("--config.data.standardize=False", "--config.train.max_consecutive_nonfinite=2"),
    )
    assert code != 0
    assert "column 'price' of" in err


def test_a_training_whose_every_step_was_skipped_is_an_error(train):
    vector = np.where(SCORES > 0, 1e17, -1e17)
    code, err, workdir = train({"vector": vector}, "--config.data.standardize=False")
    assert code == 2
    last = err.splitlines()[-1]  # after the progress line
    assert last.startswith("error: all 4 steps were skipped")
    assert not (workdir / "evaluation.json").exists()
