"""Which lines are drawn where in the pictures of signals, and that there are pictures."""

import numpy as np
import pytest

from vaejax.visualization.plots import signals

pyplot = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.RandomState(0)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, before they are closed."""
    drawn = []
    close = pyplot.close

    def keep(figure):
        drawn.append([[line.get_ydata() for line in panel.lines] for panel in figure.axes
                      if panel.get_visible()])  # fmt: skip
        close(figure)

    monkeypatch.setattr(pyplot, "close", keep)
    return drawn


@pytest.mark.parametrize("count", [1, 2, 5, 12, 15])
def test_reconstructions_lie_over_their_data(tmp_path, figures, count):
    x, mean = RNG.standard_normal((2, count, 40, 2))
    signals.reconstructions(tmp_path / "r.png", x, mean)
    (panels,) = figures
    assert len(panels) == min(count, 12)
    shown = [int(np.flatnonzero((x[..., 0] == lines[0]).all(axis=1))[0]) for lines in panels]
    assert shown == sorted(set(shown))
    assert {0, count - 1} <= set(shown)
    for i, (below, above, zero) in zip(shown, panels, strict=True):
        np.testing.assert_array_equal(below, x[i, :, 0])
        np.testing.assert_array_equal(above, mean[i, :, 0])
        np.testing.assert_array_equal(zero, 0)
    picture = pyplot.imread(tmp_path / "r.png")
    assert picture[..., :3].std() > 0.01


def test_samples(tmp_path, figures):
    x = RNG.standard_normal((4, 40, 1))
    signals.samples(tmp_path / "s.png", x, "Samples")
    (panels,) = figures
    np.testing.assert_array_equal([lines[0] for lines in panels], x[..., 0])
    assert pyplot.imread(tmp_path / "s.png")[..., :3].std() > 0.01


@pytest.mark.parametrize("known", [True, False])
def test_beliefs_show_dots_truth_and_bands(tmp_path, monkeypatch, known):
    seen = []
    close = pyplot.close
    monkeypatch.setattr(pyplot, "close", lambda figure: (seen.append(figure), close(figure)))
    y, x = RNG.standard_normal((2, 3, 20))
    mean, sd = RNG.standard_normal((3, 2, 20)), RNG.uniform(0.1, 1, (3, 2, 20))
    mean[:, 1, :12] = np.nan
    truth = x if known else None
    signals.beliefs(tmp_path / "b.png", y, mean, sd, 12, truth=truth, title="Title")
    panels = [panel for panel in seen[0].axes if panel.get_visible()]
    assert len(panels) == 3
    for i, panel in enumerate(panels):
        lines = {line.get_label(): line for line in panel.lines}
        np.testing.assert_array_equal(lines["given"].get_ydata(), y[i, :12])
        np.testing.assert_array_equal(lines["not given"].get_xdata(), np.arange(12, 20))
        np.testing.assert_array_equal(lines["not given"].get_ydata(), y[i, 12:])
        np.testing.assert_array_equal(lines["mean ± 2 sd"].get_ydata(), mean[i, 0])
        assert ("truth" in lines) == known
        if known:
            np.testing.assert_array_equal(lines["truth"].get_ydata(), x[i])
        band, later = (shape.get_paths()[0].vertices for shape in panel.collections)
        for at in (0, 7, 19):
            heights = band[band[:, 0] == at, 1]
            np.testing.assert_allclose(heights.min(), mean[i, 0, at] - 2 * sd[i, 0, at])
            np.testing.assert_allclose(heights.max(), mean[i, 0, at] + 2 * sd[i, 0, at])
        assert later[:, 0].min() == 12
    picture = pyplot.imread(tmp_path / "b.png")[..., :3]
    assert picture.std() > 0.05
    assert not pyplot.get_fignums()


def test_all_observations_may_be_given(tmp_path):
    y = RNG.standard_normal((1, 9))
    signals.beliefs(tmp_path / "b.png", y, y[:, None], np.ones((1, 1, 9)), 9)
    assert pyplot.imread(tmp_path / "b.png").std() > 0.05
