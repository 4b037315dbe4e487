"""Figures of a latent space: interpolations and maps, read back from the files."""

import numpy as np
from matplotlib import image

from tests.evaluation.latent_space_test import RNG, identity_decoder
from vaejax.data.readers.npz import from_arrays
from vaejax.visualization import plots
from vaejax.visualization.latent_space import draw_interpolations, draw_latent_map, map_panels
from vaejax.visualization.plots import Panel
from vaejax.visualization.plots import latent_space as plots_latent_space


def test_interpolations_are_drawn_between_the_data_at_their_ends(tmp_path, monkeypatch):
    family, trace = identity_decoder()
    sheets = []
    monkeypatch.setattr(
        plots_latent_space,
        "save_grid",
        lambda path, images, columns, **options: sheets.append((images, columns, options)),
    )
    params = {"encoder": {}, "decoder": {}}
    draw_interpolations(family, params, trace, tmp_path / "i.png", pairs=2)
    ((images, columns, options),) = sheets
    assert options["row_labels"] == ["linear", "spherical"] * 2
    rows = np.asarray(images).reshape(4, columns, 4)
    x, means = np.asarray(trace.x).reshape(12, 4), np.asarray(trace.latents[0].posterior.loc[::2])
    for row, (i, j) in zip(rows, [(0, 7), (0, 7), (3, 11), (3, 11)], strict=True):
        np.testing.assert_array_equal(row[[0, -1]], x[[i, j]])
        np.testing.assert_allclose(row[[1, -2]], means[[i, j]], rtol=1e-6)
    monkeypatch.undo()
    draw_interpolations(family, params, trace, tmp_path / "i.png", pairs=2)
    assert image.imread(tmp_path / "i.png").std() > 0.01


def test_panels_are_varying_factors_or_the_label():
    pixels, label = np.zeros((20, 2, 2, 1), np.uint8), np.arange(20) // 5 % 3
    factors = np.stack([np.zeros(20), *(np.arange(20) % k for k in (2, 3, 4, 5, 6))], axis=1)

    def panels_of(**arrays):
        source = from_arrays({"image": pixels, **arrays})
        return map_panels(source, source.decode(source.take(np.arange(12))))

    assert panels_of() == []
    (panel,) = panels_of(label=label, class_names=np.array(["a", "b", "c"]))
    assert (panel.title, tuple(panel.names)) == ("label", ("a", "b", "c"))
    names = np.array(["constant", "two", "three", "four", "five", "six"])
    panels = panels_of(label=label, factors=factors.astype(np.int32), factor_names=names)
    assert [panel.title for panel in panels] == ["two", "three", "four", "five"]
    assert len(np.unique(panels[1].values)) == 3
    factors[:, 0] = label
    panels = panels_of(
        label=label, factors=factors.astype(np.int32), class_names=np.array(["a", "b", "c"])
    )
    assert [tuple(panel.names) for panel in panels] == [("a", "b", "c"), (), (), ()]


def rgb(path):
    return np.round(255 * image.imread(path)[..., :3]).astype(int)


def test_map_draws_points_at_their_position_in_their_colour(tmp_path):
    """Two classes side by side, found by the colours of their points."""
    means = RNG.standard_normal((80, 2)) * 0.1
    label = np.arange(80) % 2
    means[:, 0] += np.where(label == 1, 5.0, -5.0)
    draw_latent_map(tmp_path / "m.png", means, [Panel("label", label, ("left", "right"))])
    pixels = rgb(tmp_path / "m.png")
    plot = pixels[:, : int(0.87 * pixels.shape[1])]  # without the legend
    columns = []
    for colour in ([31, 119, 180], [255, 127, 14]):  # of tab10, slightly transparent
        near = np.abs(plot - np.array(colour)).max(axis=-1) < 45
        columns.append(np.argwhere(near)[:, 1].mean())
    assert columns[1] - columns[0] > 0.3 * pixels.shape[1]


def test_title_describes_the_projection(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(plots, "latent_map", lambda *args, **options: calls.append(options))
    panels = [Panel("label", np.arange(6) % 2)]
    means = np.diag([4.0, 3.0, 0.0]).repeat(2, axis=0) * np.tile([[1.0], [-1.0]], (3, 1))
    draw_latent_map(tmp_path / "m.png", means, panels)
    assert calls[0]["title"] == (
        "Posterior means: two principal components of 3, 100% of the variance"
    )
    draw_latent_map(tmp_path / "m.png", means[:, :2], panels)
    assert (calls[1]["title"], calls[1]["axes"]) == ("Posterior means", ("z0", "z1"))
    draw_latent_map(tmp_path / "m.png", means[:, :1], panels)
    draw_latent_map(tmp_path / "m.png", means, [])
    assert len(calls) == 2


def test_map_with_all_kinds_of_panels(tmp_path):
    panels = [
        Panel("shape", np.arange(90) % 3),
        Panel("scale", np.arange(90) % 6),
        Panel("label", np.arange(90) % 5 - 1, ("a", "b", "c", "d")),
    ]
    draw_latent_map(tmp_path / "m.png", RNG.standard_normal((90, 4)), panels)
    pixels = rgb(tmp_path / "m.png")
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
