"""The lines in figures of signals."""

import numpy as np
import pytest

from vaejax.visualization.plots import signals

pyplot = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.RandomState(0)


@pytest.fixture
def figures(monkeypatch):
    """The data of the lines of each figure, by panel, recorded when it is closed."""
    recorded = []
    close = pyplot.close

    def record(figure):
        recorded.append([[line.get_ydata() for line in panel.lines] for panel in figure.axes
                      if panel.get_visible()])  # fmt: skip
        close(figure)

    monkeypatch.setattr(pyplot, "close", record)
    return recorded


@pytest.mark.parametrize("count", [1, 2, 5, 12, 15])
def test_reconstructions_are_drawn_over_the_data(tmp_path, figures, count):
    x, mean = RNG.standard_normal((2, count, 40, 2))
    signals.signal_reconstructions(tmp_path / "r.png", x, mean)
    (panels,) = figures
    assert len(panels) == min(count, 12)
    shown = [int(np.flatnonzero((x[..., 0] == lines[0]).all(axis=1))[0]) for lines in panels]
    assert shown == sorted(set(shown))
    assert {0, count - 1} <= set(shown)
    for i, (below, above, zero) in zip(shown, panels, strict=True):
        np.testing.assert_array_equal(below, x[i, :, 0])
        np.testing.assert_array_equal(above, mean[i, :, 0])
        np.testing.assert_array_equal(zero, 0)
    pixels = pyplot.imread(tmp_path / "r.png")
    assert pixels[..., :3].std() > 0.01


def test_samples(tmp_path, figures):
    x = RNG.standard_normal((4, 40, 1))
    signals.signal_samples(tmp_path / "s.png", x, "Samples")
    (panels,) = figures
    np.testing.assert_array_equal([lines[0] for lines in panels], x[..., 0])
    assert pyplot.imread(tmp_path / "s.png")[..., :3].std() > 0.01


@pytest.mark.parametrize("has_truth", [True, False])
def test_predictions_have_dots_truth_and_bands(tmp_path, monkeypatch, has_truth):
    figures = []
    close = pyplot.close
    monkeypatch.setattr(pyplot, "close", lambda figure: (figures.append(figure), close(figure)))
    y, x = RNG.standard_normal((2, 3, 20))
    mean, sd = RNG.standard_normal((3, 2, 20)), RNG.uniform(0.1, 1, (3, 2, 20))
    mean[:, 1, :12] = np.nan
    truth = x if has_truth else None
    signals.signal_predictions(tmp_path / "b.png", y, mean, sd, 12, truth=truth, title="Title")
    panels = [panel for panel in figures[0].axes if panel.get_visible()]
    assert len(panels) == 3
    for i, panel in enumerate(panels):
        lines = {line.get_label(): line for line in panel.lines}
        np.testing.assert_array_equal(lines["observed"].get_ydata(), y[i, :12])
        np.testing.assert_array_equal(lines["not observed"].get_xdata(), np.arange(12, 20))
        np.testing.assert_array_equal(lines["not observed"].get_ydata(), y[i, 12:])
        np.testing.assert_array_equal(lines["mean ± 2 sd"].get_ydata(), mean[i, 0])
        assert ("truth" in lines) == has_truth
        if has_truth:
            np.testing.assert_array_equal(lines["truth"].get_ydata(), x[i])
        band, later = (shape.get_paths()[0].vertices for shape in panel.collections)
        for t in (0, 7, 19):
            heights = band[band[:, 0] == t, 1]
            np.testing.assert_allclose(heights.min(), mean[i, 0, t] - 2 * sd[i, 0, t])
            np.testing.assert_allclose(heights.max(), mean[i, 0, t] + 2 * sd[i, 0, t])
        assert later[:, 0].min() == 12
    pixels = pyplot.imread(tmp_path / "b.png")[..., :3]
    assert pixels.std() > 0.05
    assert not pyplot.get_fignums()


def test_all_measurements_may_be_observed(tmp_path):
    y = RNG.standard_normal((1, 9))
    signals.signal_predictions(tmp_path / "b.png", y, y[:, None], np.ones((1, 1, 9)), 9)
    assert pyplot.imread(tmp_path / "b.png").std() > 0.05
