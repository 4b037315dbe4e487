"""Trackers: each offline with its own package where that is installed, and one that fails."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaejax.training.trackers import Trackers, check_trackers, open_trackers
from vaejax.training.trackers import open as open_module

CONFIG = {"train.steps": 4, "model.network": "mlp", "imports": ()}
LOG = {"to": "", "project": "tests", "name": "", "workdir": None}


class Recorded:
    """A tracker that keeps what it gets, and fails at one step."""

    def __init__(self, target, fails_at=None):
        self.target, self.fails_at, self.calls = target, fails_at, []

    @property
    def run_id(self):
        return self.target.run_id or "new"

    def scalars(self, step, values):
        if step == self.fails_at:
            raise ConnectionError("no route to host\nand more")
        self.calls.append((step, dict(values)))

    def results(self, step, metrics, figures):
        self.calls.append((step, dict(metrics), [path.name for path in figures]))

    def close(self, failed):
        self.calls.append(("closed", failed))


@pytest.fixture
def recorded(monkeypatch):
    """The trackers that were opened as wandb, in order."""
    opened = []

    def open_run(target):
        opened.append(Recorded(target))
        return opened[-1]

    module = types.ModuleType("recorded_tracker")
    module.open_run = open_run
    monkeypatch.setitem(sys.modules, "recorded_tracker", module)
    monkeypatch.setitem(open_module._TRACKERS, "wandb", ("json", "recorded_tracker"))
    return opened


def test_a_tracker_that_fails_is_left_out_with_one_line(capsys):
    bad, good = Recorded(None, fails_at=2), Recorded(None)
    trackers = Trackers({"bad": bad, "good": good})
    part = trackers.with_prefix("second_stage/")
    trackers.scalars(1, {"a": 1})
    trackers.scalars(2, {"a": np.float32(2)})
    part.scalars(3, {"a": 3})
    trackers.close()
    assert bad.calls == [(1, {"a": 1.0})]
    assert good.calls == [
        *((1, {"a": 1.0}), (2, {"a": 2.0}), (3, {"second_stage/a": 3.0})),
        ("closed", False),
    ]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: bad fails, the run goes on without it (ConnectionError: no ro")


def test_names_and_packages_are_checked(monkeypatch):
    check_trackers("")
    check_trackers("tensorboard")
    with pytest.raises(ValueError, match=r"log\.to: unknown tracker .*'wandb'"):
        check_trackers("tensorboard, wandbb")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'vaejax\[trackio\]'"):
        check_trackers("tensorboard,trackio")


def test_a_tracker_that_cannot_be_opened_is_left_out(recorded, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(open_module._TRACKERS, "mlflow", ("json", "no_such_module_at_all"))
    opened = open_trackers({**LOG, "to": "mlflow,wandb"}, tmp_path, CONFIG)
    opened.scalars(1, {"a": 1})
    assert "warning: mlflow fails" in capsys.readouterr().err
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"wandb": "new"}
    assert (recorded[0].calls, opened.tensorboard) == ([(1, {"a": 1.0})], False)
    open_trackers({**LOG, "to": "wandb", "name": "given"}, tmp_path, CONFIG)
    assert [run.target.run_id for run in recorded] == [None, "new"]
    assert [run.target.name for run in recorded] == [tmp_path.name, "given"]


def figure(folder):
    (folder / "figures").mkdir(exist_ok=True)
    path = folder / "figures" / "samples.png"
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(path)
    return [path]


def two_starts(name, folder):
    """Records of a run that was interrupted and started again; the ids of the tracker's run."""
    ids = []
    for steps in ((1, 2), (2, 3)):
        trackers = open_trackers({**LOG, "to": name}, folder, CONFIG)
        for step in steps:
            trackers.scalars(step, {"train/elbo": float(-step), "eval/kl/0": np.float32(0.5)})
        if 3 in steps:
            trackers.results(3, {"elbo": -3.0, "elbo/class_1": 2.0}, figure(folder))
        assert list(trackers._trackers) == [name]  # none has failed
        ids.append(trackers._trackers[name].run_id)
        trackers.close()
    assert json.loads((folder / "trackers.json").read_text()) == {name: ids[0]}
    return ids


def test_trackio_in_a_local_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "trackio", raising=False)
    first, second = two_starts("trackio", tmp_path)
    assert first == second
    logs = storage.get_logs("tests", first)
    assert [row["train/elbo"] for row in logs if "train/elbo" in row] == [-1, -2, -2, -3]
    (final,) = [row for row in logs if "final/elbo" in row]
    assert (final["final/elbo"], final["step"]) == (-3, 3)
    assert final["final"]["_type"] == "trackio.table"
    assert final["figures/samples"]["_type"] == "trackio.image"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow about its own packages
def test_mlflow_in_a_local_database(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first, second = two_starts("mlflow", tmp_path)
    assert first == second
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    history = client.get_metric_history(first, "train/elbo")
    assert sorted((m.step, m.value) for m in history) == [(1, -1), (2, -2), (2, -2), (3, -3)]
    run = client.get_run(first)
    assert run.data.metrics["final/elbo"] == -3
    assert (run.info.status, run.info.run_name) == ("FINISHED", tmp_path.name)
    names = {file.path for file in client.list_artifacts(first)}
    assert names == {"config.json", "final.json", "figures"}
    files = [p.name for p in (tmp_path / "mlartifacts").rglob("*.*") if p.is_file()]
    assert sorted(files) == ["config.json", "final.json", "samples.png"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of wandb about its own packages
def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    first, second = two_starts("wandb", tmp_path)
    assert first == second
    folders = [p for p in (tmp_path / "wandb").iterdir() if p.name.startswith("offline-run-")]
    assert folders
    assert all(p.name.endswith(f"-{first}") for p in folders)
    assert any(p.name.startswith("samples") for p in Path(tmp_path, "wandb").rglob("*.png"))
