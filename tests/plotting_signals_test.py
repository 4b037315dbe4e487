"""Which lines are drawn where in the pictures of signals, and that there are pictures."""

import numpy as np
import pytest

from vaejax import plotting_signals

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
    plotting_signals.reconstructions(tmp_path / "r.png", x, mean)
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
    plotting_signals.samples(tmp_path / "s.png", x, "Samples")
    (panels,) = figures
    np.testing.assert_array_equal([lines[0] for lines in panels], x[..., 0])
    assert pyplot.imread(tmp_path / "s.png")[..., :3].std() > 0.01
