"""`Run` on a table: sources by name, rows with column names, missing values, the support."""

import jax
import numpy as np
import pytest

import vaejax
from vaejax.data.preprocess import dataset_info
from vaejax.data.spec import spec_of
from vaejax.experiment.build import build
from vaejax.experiment.config_defaults import defaults
from vaejax.experiment.other_data import compatible
from vaejax.experiment.trained_model import Run

RANDOM = np.random.RandomState(0)
NAMES = np.array(["a", "b", "c", "d"])
TABLE = (RANDOM.randn(80, 1) @ [[1.0, 2.0, -1.0, 1.5]] + 0.3 * RANDOM.randn(80, 4)) * 3 + 50


def run_of(arrays, likelihood, **data):
    """An untrained model of a table, with the interface of a run."""
    source = vaejax.from_arrays(arrays)
    config = defaults("beta_vae").to_dict()
    config["data"].update(source="tables", **data)
    config["evaluate"]["importance_samples"] = 3
    config["model"] = {"latent_dim": 2, "network": {"kind": "mlp", "hidden": (8,)}}
    config["model"]["likelihood"] = likelihood
    config["players"] = {"vae": {"minimizes": {"nll": 1.0, "kl": 1.0}, "learning_rate": 1e-3}}
    family = build(config, (4,), dataset_info(source))
    spec = spec_of(source)
    batch = {"vector": np.zeros((8, 4), np.float32)}
    params = jax.jit(family.model.init)(jax.random.key(0), batch)
    mesh = vaejax.make_mesh(1)
    return Run(config, family, params, 1, spec, mesh=mesh, batch_size=32)


@pytest.fixture(scope="module")
def table():
    return run_of({"vector": TABLE, "column_names": NAMES}, {"kind": "normal", "scale": "learned"})


@pytest.fixture(scope="module")
def counts():
    vector = RANDOM.poisson(3.0, (80, 4))
    return run_of({"vector": vector, "column_names": NAMES}, {"kind": "negative_binomial"})


def test_a_source_is_encoded_in_its_order(table):
    source = vaejax.from_arrays({"vector": TABLE[::-1]}, holdout=0)
    found = table.encode(source, reconstructions=True, samples=3)
    np.testing.assert_allclose(found["mean"], table.encode(TABLE[::-1]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["reconstruction"], table.reconstruct(TABLE[::-1]), rtol=1e-5)
    assert found["log_likelihood"].shape == (80,)
    metrics = table.evaluate(source, all_metrics=True)
    assert metrics["log_likelihood"] == pytest.approx(found["log_likelihood"].mean(), abs=1.0)
    assert metrics["kl"] == pytest.approx(found["kl"].mean(), rel=1e-5)
    with pytest.raises(ValueError, match="whose column 1 is 'b', but column 1 of arrays is 'c'"):
        table.encode(vaejax.from_arrays({"vector": TABLE, "column_names": NAMES[[0, 2, 1, 3]]}))


def test_sampled_rows_are_columns(table, counts):
    columns = table.sample_table(40, seed=2)
    assert [*columns] == NAMES.tolist()
    rows = np.stack([*columns.values()], axis=1)
    np.testing.assert_array_equal(rows, table.sample(40, seed=2, noise=True))
    # The same z: samples of p(x | z) differ from its means by its noise.
    noise = (rows - table.sample(40, seed=2)) / table.spec.standardization["vector"].scale
    assert 0.5 < noise.std() < 2
    assert {column.dtype for column in counts.sample_table(40).values()} == {np.dtype(np.int64)}


@pytest.mark.slow
def test_missing_values_are_filled(table, counts):
    x = TABLE[:6].copy()
    x[1, 2] = x[4, 0] = np.nan
    filled = table.impute(x, steps=8)
    assert filled.shape == (6, 4)
    assert np.isfinite(filled).all()
    seen = ~np.isnan(x)
    np.testing.assert_allclose(filled[seen], x[seen], rtol=1e-6)
    mask = np.isnan(x)
    np.testing.assert_array_equal(table.impute(np.where(mask, -7.0, x), mask, steps=8), filled)
    several = table.impute(x, samples=3, steps=8)
    assert several.shape == (3, 6, 4)
    assert (several[:, mask].std(axis=0) > 0).all()
    assert table.impute(x[1], steps=8).shape == (4,)
    sampled = counts.impute(
        np.array([[1, 2, 3, 4]]), np.array([[False, True, True, False]]), samples=2
    )
    assert (sampled == np.floor(sampled)).all()
    with pytest.raises(ValueError, match="nothing is missing"):
        table.impute(TABLE[:2])
    with pytest.raises(ValueError, match=r"missing must be bool of the shape of x, \[2, 4\]"):
        table.impute(TABLE[:2], [True, False])


@pytest.mark.parametrize("method", ["encode", "reconstruct", "score"])
def test_arrays_outside_of_the_support(counts, method):
    with pytest.raises(ValueError, match=r"is for counts 0, 1, 2, .* column 'c' of event 1 holds"):
        getattr(counts, method)(np.array([[1, 2, 3, 4], [1, 2, -3, 4]]))
    with pytest.raises(ValueError, match=r"holds 2\.5: give data like those .* trained on, tables"):
        getattr(counts, method)(np.array([1, 2.5, 3, 4]))


def test_absent_labels_and_masks_are_completed(table):
    fields = {**table.spec.fields, "label": ((), "int32"), "mask": ((4,), "bool")}
    spec = table.spec._replace(fields=fields, classes=3)
    source = vaejax.from_arrays({"vector": TABLE}, holdout=0)

    def completed(source, spec, optional):
        options = {"trained_on": "tables", "reads": {"vector", "label"}, "optional": optional}
        source = compatible(source, spec, table.family, table.params, **options)
        return source.decode(source.take(np.arange(2)))

    batch = completed(source, spec, True)
    assert batch["label"].tolist() == [-1, -1]
    assert batch["mask"].all()
    with pytest.raises(ValueError, match="tables and reads the field 'label', which arrays does"):
        completed(source, spec, False)
    missing = vaejax.from_arrays(
        {"vector": np.where(TABLE > 55, np.nan, TABLE)}, holdout=0, missing="mask"
    )
    del fields["mask"]
    with pytest.raises(ValueError, match="no missing values or padding, but arrays has"):
        completed(missing, spec, True)
