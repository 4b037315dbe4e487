"""A trained run on other data: to files, without touching the run, and refused where it cannot."""

import csv
import hashlib
import json

import numpy as np
import pytest

import vaejax
from vaejax.experiment.table_files import named_columns

RANDOM = np.random.RandomState(0)
NAMES = np.array(["age", "height", "weight"])
FACTOR = RANDOM.randn(60, 1)
TABLE = (FACTOR @ [[1.0, 2.0, -1.0]] + 0.3 * RANDOM.randn(60, 3)) * [5, 10, 20] + [40, 170, 70]
OTHER = TABLE[:23][::-1] + 1.5
FLAGS = [
    "--config.model.network={'kind': 'mlp', 'hidden': (8,)}",
    *("--config.model.latent_dim=2", "--config.mesh.data=1"),
    *("--config.train.steps=4", "--config.train.batch_size=8", "--config.train.log_every=2"),
    *("--config.train.checkpoint_every=4", "--config.train.steps_per_dispatch=2"),
    *("--config.sample.count=30", "--config.evaluate.figures=False"),
]


def contents(folder):
    """Name -> bytes and time of change of every file and folder."""
    return {
        str(p.relative_to(folder)): (
            p.stat().st_mtime_ns,
            hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "",
        )
        for p in sorted(folder.rglob("*"))
    }


def arrays_of(path):
    with np.load(path) as file:
        return dict(file)


class Trained:
    """A run of four steps, and the command that applies it."""

    def __init__(self, command, folder, arrays, *flags):
        np.savez(folder / "own.npz", **arrays)
        self.command, self.folder, self.workdir = command, folder, folder / "run"
        data = f"--config.data.source=npz:{folder / 'own.npz'}"
        self.flags = [*flags, *FLAGS, data, f"--workdir={self.workdir}"]
        code, _, err = command(*self.flags)
        assert code == 0, err

    def apply(self, mode, *flags, arrays=None, output="out"):
        """Exit status, standard output and error; the workdir is as it was."""
        before, flags = contents(self.workdir), list(flags)
        if arrays is not None:
            np.savez(self.folder / "other.npz", **arrays)
            flags.append(f"--data=npz:{self.folder / 'other.npz'}")
        if output:
            flags.append(f"--output={self.folder / output}")
        result = self.command(*self.flags, f"--mode={mode}", *flags)
        assert contents(self.workdir) == before
        return result


@pytest.fixture(scope="module")
def table(command, tmp_path_factory):
    arrays = {"vector": TABLE, "column_names": NAMES}
    flags = ["--config=configs/beta_vae.py", "--config.model.likelihood=normal"]
    return Trained(command, tmp_path_factory.mktemp("table"), arrays, *flags)


@pytest.fixture(scope="module")
def conditional(command, tmp_path_factory):
    """A model of images of 12 bits, given the class."""
    image = RANDOM.randint(0, 4096, (40, 4, 4), np.uint16)
    image[0, 0, 0] = 4095
    arrays = {"image": image, "label": np.arange(40) % 3, "class_names": np.array(["a", "b", "c"])}
    flags = ["--config=configs/cvae.py", "--config.data.condition_dropout=0.0"]
    return Trained(command, tmp_path_factory.mktemp("images"), arrays, *flags)


def test_rows_of_another_table_in_their_order(table):
    labels = {"label": np.arange(23) % 2, "class_names": np.array(["no", "yes"])}
    flags = ["--reconstructions", "--config.evaluate.importance_samples=5"]
    code, out, err = table.apply("encode", *flags, arrays={"vector": OTHER, **labels})
    assert (code, err) == (0, "")
    found = arrays_of(table.folder / "out" / "latents.npz")
    assert str(table.folder / "out" / "latents.npz") in out
    scores = {"nll", "kl", "elbo", "log_likelihood"}
    assert found.keys() == {"mean", "scale", "reconstruction", "label", "class_names"} | scores
    run = vaejax.load_run(table.workdir)
    np.testing.assert_allclose(found["mean"], run.encode(OTHER), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["reconstruction"], run.reconstruct(OTHER), rtol=1e-5)
    np.testing.assert_array_equal(found["label"], labels["label"])
    np.testing.assert_allclose(found["elbo"], -(found["nll"] + found["kl"]), rtol=1e-5)
    np.testing.assert_allclose(found["kl"], run.score(OTHER)["kl"], rtol=1e-4)
    # The units are those of the training data, not those of the rows that are encoded.
    shift, scale = TABLE.mean(axis=0), TABLE.std(axis=0)
    np.testing.assert_allclose(run.spec.standardization["vector"].shift, shift, atol=3)
    network = run.family.model.encode(run.params, {"vector": np.float32(OTHER)}, None)
    np.testing.assert_allclose(found["mean"], network[0].posterior.mean, rtol=1e-4, atol=1e-5)
    assert (OTHER.mean(axis=0) - shift)[0] / scale[0] > 0.05


def test_an_evaluation_of_other_data(table):
    code, out, err = table.apply("evaluate", arrays={"vector": OTHER}, output="evaluated")
    assert (code, err) == (0, "")
    found = json.loads((table.folder / "evaluated" / "evaluation.json").read_text())
    other = f"npz:{table.folder / 'other.npz'}"
    assert (found["source"], found["split"]) == (other, "eval")
    assert other in out
    run = vaejax.load_run(table.workdir)
    metrics = run.evaluate(other)
    assert found["elbo"] == pytest.approx(metrics["elbo"], rel=1e-5)  # of all 23 rows
    assert found["kl"] == pytest.approx(run.score(OTHER)["kl"].mean(), rel=1e-4)


def test_a_split_of_the_run_is_evaluated_elsewhere(table, one_line):
    own = json.loads((table.workdir / "evaluation.json").read_text())
    code, _, err = table.apply("evaluate", "--split=train", output="train")
    assert code == 0, err
    found = json.loads((table.folder / "train" / "evaluation.json").read_text())
    assert found["split"] == "train"
    assert found["elbo"] != own["elbo"]
    code, _, err = table.apply("evaluate", "--split=train", output="")
    assert code == 2
    assert "with --split=train would replace" in one_line(err)


def test_the_data_of_the_run_are_not_read(table):
    (table.folder / "own.npz").rename(table.folder / "away.npz")
    try:
        code, _, err = table.apply("encode", arrays={"vector": OTHER[:1]}, output="one")
    finally:
        (table.folder / "away.npz").rename(table.folder / "own.npz")
    assert code == 0, err
    assert arrays_of(table.folder / "one" / "latents.npz")["mean"].shape == (1, 2)


def test_all_splits_of_other_data(table):
    arrays = {"train_vector": OTHER, "test_vector": OTHER[:5] * 2}
    code, _, err = table.apply("encode", "--split=all", arrays=arrays)
    assert code == 0, err
    found = arrays_of(table.folder / "out" / "latents.npz")["mean"]
    expected = vaejax.load_run(table.workdir).encode(np.concatenate([*arrays.values()]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_sampled_rows_have_column_names(table):
    parquet = pytest.importorskip("pyarrow.parquet")
    code, _, err = table.apply("sample", output="samples")
    assert (code, err) == (0, "")
    rows = arrays_of(table.folder / "samples" / "samples.npz")
    assert rows["vector"].shape == (30, 3)
    with (table.folder / "samples" / "samples.csv").open() as file:
        header, *lines = csv.reader(file)
    assert header == NAMES.tolist()
    np.testing.assert_array_equal(np.array(lines, np.float32), rows["vector"])
    columns = parquet.read_table(table.folder / "samples" / "samples.parquet").to_pydict()
    assert list(columns) == NAMES.tolist()
    np.testing.assert_array_equal(np.array([*columns.values()]).T, rows["vector"])
    # In the units of the data; and samples of p(x | z), of which the means vary less.
    np.testing.assert_allclose(rows["vector"].mean(axis=0), TABLE.mean(axis=0), rtol=0.3)
    again = vaejax.load_data(f"npz:{table.folder / 'samples' / 'samples.npz'}", holdout=0)
    assert again.column_names == tuple(NAMES)


def test_counts_are_written_as_integers():
    columns = named_columns(np.array([[0.5, 3.0], [1.0, 0.0]], np.float32), None)
    assert {n: c.dtype for n, c in columns.items()} == {"column_0": "float32", "column_1": "int64"}


VECTORS = {"vector": OTHER}
REFUSED = {
    "images": ({"image": np.zeros((9, 3, 1))}, "encode", "vectors of shape [3], but", "images of"),
    "another width": ({"vector": OTHER[:, :2]}, "evaluate", "of shape [3]", "of shape [2]"),
    "other columns": (
        {"vector": OTHER, "column_names": NAMES[[0, 2, 1]]},
        "encode",
        "own.npz, whose column 1 is 'height'",
        "other.npz is 'weight'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_data_of_another_form(table, one_line, case):
    arrays, mode, *parts = REFUSED[case]
    code, out, err = table.apply(mode, arrays=arrays, output="refused")
    assert (code, out) == (2, "")
    line = one_line(err)
    assert all(part in line for part in ("own.npz", "other.npz", *parts)), line
    assert not (table.folder / "refused").exists()


FLAG_MISTAKES = {
    "--mode=train --data=npz:x.npz": "--data is for --mode=evaluate, sample or encode",
    "--mode=train --output=out": "--output is not for --mode=train",
    "--mode=export --split=train": "--split is for --mode=evaluate",
    "--mode=evaluate --split=all": "--split=all is for --mode=encode",
    "--mode=sample --reconstructions": "--reconstructions is for --mode=encode",
    "--mode=encode --output=pyproject.toml": "--output=pyproject.toml is a file",
    "--mode=evaluate --data=npz:x.npz": "would replace",
    "--mode=encode --data=npz:/no/such.npz --output=out": "no file /no/such.npz",
}


@pytest.mark.parametrize("flags", FLAG_MISTAKES)
def test_mistakes_in_the_flags(table, one_line, flags):
    code, _, err = table.apply("train", *flags.split(), output="")
    assert code == 2
    assert FLAG_MISTAKES[flags] in one_line(err)


def test_the_workdir_of_another_run_is_no_output(table, one_line):
    code, _, err = table.apply("encode", arrays=VECTORS, output="other_run")
    assert code == 0, err
    (table.folder / "other_run" / "config.json").write_text("{}")
    code, _, err = table.apply("encode", arrays=VECTORS, output="other_run")
    assert "is the directory of a run" in one_line(err)


@pytest.mark.slow
def test_classes_and_pixels_are_those_of_the_run(conditional, one_line):
    image = RANDOM.randint(0, 1000, (6, 4, 4), np.uint16)
    label = np.array([0, 2, 1, 1, 0, 2])
    code, _, err = conditional.apply("encode", arrays={"image": image, "label": label})
    assert code == 0, err
    found = arrays_of(conditional.folder / "out" / "latents.npz")
    run = vaejax.load_run(conditional.workdir)
    assert run.spec.pixel_scale == 4095  # which the darker images alone do not show
    np.testing.assert_allclose(
        found["mean"], run.encode(image, condition=label), rtol=1e-4, atol=1e-5
    )
    for arrays, parts in (
        ({"image": image, "label": label + 1}, ("with 3 classes", "has 4")),
        ({"image": image}, ("reads the field 'label'", "(fields: image)")),
        ({"image": image * 60, "label": label}, ("pixels from 0 to 4095", "up to 65535")),
        (
            {"image": image, "label": label, "class_names": np.array(["a", "c", "b"])},
            ("class 1 is 'b'", "is 'c'"),
        ),
    ):
        code, _, err = conditional.apply("encode", arrays=arrays, output="refused")
        assert code == 2
        line = one_line(err)
        assert all(part in line for part in ("own.npz", "other.npz", *parts)), line


def test_samples_of_a_conditional_model_carry_their_conditions(conditional):
    arrays = {"image": np.zeros((5, 4, 4), np.uint16), "label": np.arange(5) % 3}
    code, _, err = conditional.apply("sample", arrays=arrays, output="samples")
    assert code == 0, err
    found = arrays_of(conditional.folder / "samples" / "samples.npz")
    assert found["image"].shape == (30, 4, 4, 1)
    assert sorted(set(found["label"])) == [0, 1, 2]
    assert found["class_names"].tolist() == ["a", "b", "c"]
