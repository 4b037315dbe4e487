"""Tables with categories, and sparse counts, from the command to the trained run."""

import json

import numpy as np
import pytest
import scipy.sparse

import vaejax
from vaejax.data.columns import named_columns

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.csv")

RANDOM = np.random.RandomState(0)
N = 60
TABLE = {
    "age": RANDOM.randint(18, 90, N),
    "income": np.exp(RANDOM.randn(N) + 10),
    "job": RANDOM.choice(["smith", "baker", "miner"], N),
    "owner": RANDOM.rand(N) > 0.5,
    "class": RANDOM.choice(["yes", "no"], N),
}
SMALL = [
    *("--config.model.network={'kind': 'mlp', 'hidden': (8,)}", "--config.model.latent_dim=2"),
    *("--config.train.steps=4", "--config.train.batch_size=8", "--config.train.log_every=2"),
    *("--config.train.checkpoint_every=4", "--config.train.steps_per_dispatch=2"),
    *("--config.mesh.data=1", "--config.evaluate.figures=False"),
]


@pytest.fixture
def train(command, tmp_path):
    """Trains on a table: exit status, standard error, working directory."""

    def run(table, *flags, folder="run"):
        file = tmp_path / f"{folder}.csv"
        pa.csv.write_csv(pa.table(dict(table)), file)
        workdir = tmp_path / folder
        code, _, err = command(
            "--config=configs/beta_vae.py:table",
            f"--config.data.source=csv:{file}",
            *SMALL,
            *flags,
            f"--workdir={workdir}",
        )
        return code, err, workdir

    return run


def evaluation(workdir):
    return json.loads((workdir / "evaluation.json").read_text())


def test_names_of_columns_and_categories_are_kept_with_the_run(train, tmp_path):
    code, err, first = train(TABLE, "--config.data.label=class")
    assert code == 0, err
    run = vaejax.load_run(first)
    assert [c.name for c in run.spec.columns] == ["age", "income", "job", "owner"]
    expected = {"age": (), "job": ("baker", "miner", "smith"), "owner": ("False", "True")}
    stored = json.loads((first / "data.json").read_text())["columns"]
    for column in stored:
        if column["name"] in expected:
            assert tuple(column["categories"]) == expected[column["name"]]
    table = {name: values[:5] for name, values in TABLE.items() if name != "class"}
    scores = run.score(table)
    np.testing.assert_allclose(scores["elbo"], -(scores["nll"] + scores["kl"]), rtol=1e-5)
    rows = named_columns(run.spec.columns, run.sample(6))
    assert set(rows["job"]) <= {"baker", "miner", "smith"}
    assert rows["owner"].dtype == bool
    np.testing.assert_allclose(run.encode(table), run.encode(_numbers(table)), rtol=1e-6)
    with pytest.raises(ValueError, match="column 'job' has no category 'pilot'"):
        run.encode({**table, "job": ["pilot"] * 5})
    with pytest.raises(ValueError, match="column 'job' has the classes 0 to 2, found 3"):
        run.encode(np.array([[30, 1e4, 3, 0]]))
    # Another file with fewer categories.
    few = {name: values[TABLE["job"] == "smith"] for name, values in TABLE.items()}
    pa.csv.write_csv(pa.table(few), tmp_path / "few.csv")
    assert np.isfinite(run.evaluate(f"csv:{tmp_path / 'few.csv'}")["elbo"])
    pa.csv.write_csv(pa.table({**few, "job": ["pilot"] * len(few["job"])}), tmp_path / "few.csv")
    with pytest.raises(ValueError, match="trained without: 'pilot'"):
        run.evaluate(f"csv:{tmp_path / 'few.csv'}")


def _numbers(table):
    job = np.searchsorted(["baker", "miner", "smith"], table["job"])
    return np.stack([table["age"], table["income"], job, table["owner"]], axis=1)


@pytest.mark.slow
def test_the_unit_of_a_column_is_that_of_its_density(train):
    """With a positive factor, every number of the training is the same."""
    code, err, first = train({**TABLE, "age": TABLE["age"] * 1.0}, "--config.data.drop=class")
    assert code == 0, err
    changed = {**TABLE, "age": TABLE["age"] * 0.25 + 2.0}  # exact in float32
    code, err, second = train(changed, "--config.data.drop=class", folder="second")
    assert code == 0, err
    first, second = evaluation(first), evaluation(second)
    np.testing.assert_allclose(second["elbo"] - first["elbo"], np.log(4), atol=1e-4)
    np.testing.assert_allclose(second["accuracy"], first["accuracy"])
    np.testing.assert_allclose(second["kl"], first["kl"], rtol=1e-4)


@pytest.mark.slow
def test_columns_condition_a_model(command, tmp_path):
    pa.csv.write_csv(pa.table(dict(TABLE)), tmp_path / "a.csv")
    code, _, err = command(
        "--config=configs/cvae.py:table", f"--config.data.source=csv:{tmp_path / 'a.csv'}",
        "--config.model.condition=condition", "--config.data.condition=job,owner", *SMALL,
        f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert code == 0, err
    run = vaejax.load_run(tmp_path / "run")
    first = run.sample(4, condition={"job": ["miner"], "owner": [True]})
    rows = np.tile(np.float32([[0, 1, 0, 0, 1]]), (4, 1))
    np.testing.assert_array_equal(first, run.sample(4, condition=rows))
    assert named_columns(run.spec.columns, first)["class"].shape == (4,)
    with pytest.raises(ValueError, match="column 'job' has no category 'pilot'"):
        run.sample(4, condition={"job": ["pilot"], "owner": [True]})


@pytest.mark.slow
def test_missing_values_change_nothing_but_their_own_terms(train):
    few = {**TABLE, "job": [None, *TABLE["job"][1:]], "income": [*TABLE["income"][:-1], None]}
    code, err, workdir = train(few, "--config.data.missing=mask", "--config.data.label=class")
    assert code == 0, err
    assert {"elbo", "mse", "accuracy"} <= evaluation(workdir).keys()
    run = vaejax.load_run(workdir)
    table = {name: list(values[:3]) for name, values in TABLE.items() if name != "class"}
    whole = run.score(table)
    assert np.isfinite(whole["elbo"]).all()
    missing = run.score({**table, "job": [None, *table["job"][1:]]})
    np.testing.assert_allclose(missing["elbo"][1:], whole["elbo"][1:], rtol=1e-5)
    other = run.score({**table, "job": [None, *table["job"][1:]], "age": [None, *table["age"][1:]]})
    assert other["nll"][0] != missing["nll"][0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--config.model.likelihood.kind=normal",),
            "column 'job' and 2 more hold categories in csv:",
        ),
        (("--config.data.label=klass",), "data.label of csv:"),
        (("--config.data.source=sprites:small",), "the likelihood 'mixed' is for the rows"),
        (("--config.family=sigma_vae",), "the family beta_vae"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(train, one_line, flags, message):
    code, err, workdir = train(TABLE, *flags)
    assert code == 2
    assert message in one_line(err)
    assert not workdir.exists()


def counts_of(command, tmp_path, source, folder):
    code, _, err = command(
        "--config=configs/beta_vae.py:counts", f"--config.data.source={source}", *SMALL,
        f"--workdir={tmp_path / folder}",
    )  # fmt: skip
    assert code == 0, err
    lines = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return evaluation(tmp_path / folder), records


def test_sparse_counts_train_as_the_dense_array(command, one_line, tmp_path):
    counts = RANDOM.poisson(3.0, (60, 20)) * (RANDOM.rand(60, 20) < 0.2)
    np.savez(tmp_path / "dense.npz", counts=counts)
    scipy.sparse.save_npz(tmp_path / "sparse.npz", scipy.sparse.csr_matrix(counts))
    dense = counts_of(command, tmp_path, f"npz:{tmp_path / 'dense.npz'}", "dense")
    sparse = counts_of(command, tmp_path, f"npz:{tmp_path / 'sparse.npz'}", "sparse")
    for first, second in zip(dense[1], sparse[1], strict=True):
        if "nll" in first:
            np.testing.assert_allclose(second["nll"], first["nll"], rtol=1e-6)
    for name in ("elbo", "nll", "kl"):
        np.testing.assert_allclose(sparse[0][name], dense[0][name], rtol=1e-6)
    wrong = counts.astype(np.float32)
    wrong[7, 3] = 0.5
    scipy.sparse.save_npz(tmp_path / "wrong.npz", scipy.sparse.csr_matrix(wrong))
    code, _, err = command(
        "--config=configs/beta_vae.py:counts", f"--config.data.source=npz:{tmp_path}/wrong.npz",
        *SMALL, f"--workdir={tmp_path / 'wrong'}",
    )  # fmt: skip
    assert code == 2
    assert "column 3 of npz:" in one_line(err)
    assert "holds 0.5" in err
