"""Charts of metrics: the drawn values, and files that are not blank."""

import numpy as np
import pytest

from tests.visualization.plots.image_grids_test import read_figure
from vaejax.visualization.plots import metric_charts

pyplot = pytest.importorskip("matplotlib.pyplot")


def test_curves(tmp_path):
    records = [
        {"step": 10, "split": "train", "nll": 3.0, "kl": 1.0, "kl/0": 1.0},
        {"step": 20, "split": "train", "nll": 2.0, "kl": None},
        {"step": 20, "split": "eval", "nll": 2.5, "elbo": -3.0},
    ]
    metric_charts.curves(tmp_path / "c.png", records)
    read_figure(tmp_path / "c.png")
    more = [*records, {"step": 30, "split": "train", **{f"x{i}": float(i) for i in range(6)}}]
    metric_charts.curves(tmp_path / "m.png", more)
    assert read_figure(tmp_path / "m.png").shape[0] > read_figure(tmp_path / "c.png").shape[0]


def test_no_file_without_metrics(tmp_path):
    metric_charts.curves(tmp_path / "c.png", [{"step": 1, "split": "train"}])
    assert not (tmp_path / "c.png").exists()


def test_code_usage(tmp_path, monkeypatch):
    counts = {"codes": np.array([3, 0, 5, 2]), "dead": np.eye(64)[0], "none": np.zeros(64)}
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    metric_charts.code_usage(tmp_path / "u.png", counts)
    monkeypatch.undo()
    read_figure(tmp_path / "u.png")
    (axes,) = figures[0].axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines if len(line.get_xdata()) > 2}
    assert list(lines) == [
        "codes: 3 of 4 codes",
        "dead: 1 of 64 codes",
        "none: 0 of 64 codes",
    ]
    np.testing.assert_allclose(lines["codes: 3 of 4 codes"], [0.5, 0.3, 0.2, 0.0])
    assert axes.get_yscale() == "log"
    pyplot.close(figures[0])


def test_code_usage_of_a_codebook_of_which_only_used_codes_are_given(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    metric_charts.code_usage(tmp_path / "u.png", {"lfq": np.array([2, 1, 0])}, {"lfq": 2**30})
    monkeypatch.undo()
    labels = [line.get_label() for line in figures[0].axes[0].lines]
    assert "lfq: 2 of 1073741824 codes" in labels
    pyplot.close(figures[0])


def test_bars_and_errors_by_horizon(tmp_path):
    panels = [("factor 0", ("a", "b"), np.array([1.0, -0.5])), ("factor 1", ("c",), np.ones(1))]
    metric_charts.bars(tmp_path / "b.png", panels, rows=2, title="Title")
    assert read_figure(tmp_path / "b.png").std() > 0.01  # not blank
    errors = {"rollout": {1: 0.1, 2: 0.2, 10: 0.4}, "direct": {1: 0.1}}
    metric_charts.errors_by_horizon(tmp_path / "e.png", errors)
    assert read_figure(tmp_path / "e.png").std() > 0.01


def test_figures_are_closed(tmp_path):
    before = pyplot.get_fignums()
    metric_charts.code_usage(tmp_path / "u.png", {"codes": np.arange(8)})
    assert pyplot.get_fignums() == before
