"""What trackers get from the command, with one that keeps it; the others are in training/."""

import sys
import types

import pytest

from vaejax.training.trackers import open as open_module


@pytest.fixture
def opened(monkeypatch):
    """The runs that the command opened as trackio: (name of the call, arguments) each."""
    runs = []

    class Run:
        def __init__(self, target):
            self.run_id, self.calls, self.target = target.run_id or "first", [], target
            runs.append(self)

        def scalars(self, step, values):
            self.calls.append(("scalars", step, values))

        def results(self, step, metrics, figures):
            self.calls.append(("results", step, metrics, [path.stem for path in figures]))

        def close(self, failed):
            self.calls.append(("close", failed))

    module = types.ModuleType("kept")
    module.open_run = Run
    monkeypatch.setitem(sys.modules, "kept", module)
    monkeypatch.setitem(open_module._TRACKERS, "trackio", ("json", "kept"))
    return runs


@pytest.mark.slow
def test_records_and_results_of_a_run_that_goes_on(command, data, opened, tmp_path):
    workdir = tmp_path / "run"
    flags = [*data, f"--workdir={workdir}", "--config.log.to=tensorboard,trackio"]
    code, _, err = command(*flags, "--config.train.steps=2", "--config.evaluate.figures=False")
    assert code == 0, err
    code, _, err = command(*flags)
    assert code == 0, err
    first, second = opened
    assert (first.target.run_id, second.target.run_id) == (None, "first")
    assert (first.target.name, first.target.project) == ("run", "vaejax")
    assert first.target.config["train.steps"] == 2
    points = {
        (step, name): value
        for kind, step, values, *_ in first.calls[:-1] + second.calls[:-1]
        if kind == "scalars"
        for name, value in values.items()
    }
    steps = {(2, "train/elbo"), (4, "train/elbo"), (2, "eval/elbo"), (4, "eval/elbo")}
    assert steps | {(4, "steps_per_second")} <= points.keys()
    (_, step, metrics, figures) = second.calls[-2]
    assert (step, second.calls[-1]) == (4, ("close", False))
    assert metrics["elbo"] == pytest.approx(points[4, "eval/elbo"], rel=1e-5)
    assert {"losses", "reconstructions", "samples"} <= set(figures)
    events = b"".join(file.read_bytes() for file in (workdir / "tb").iterdir())
    assert all(name in events for name in (b"figures/samples", b"final/elbo", b"\x89PNG"))
    code, _, err = command(*flags, "--mode=evaluate", "--config.evaluate.figures=False")
    assert (code, len(opened)) == (0, 2)  # only trainings are logged


def test_unknown_trackers_are_refused(command, data, one_line, tmp_path):
    flags = [*data, f"--workdir={tmp_path / 'run'}", "--config.log.to=wandb,neptune"]
    code, _, err = command(*flags)
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert "log.to: unknown tracker 'neptune'" in one_line(err)
