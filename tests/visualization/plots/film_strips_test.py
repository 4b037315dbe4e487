"""Film strips and animations: frames, borders and positions, read back from the files."""

import numpy as np
import pytest
from PIL import Image

from vaejax.visualization.plots import film_strips
from vaejax.visualization.plots.film_strips import BORDER_COLOURS, OBSERVED, PREDICTED, UNMARKED

pyplot = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.RandomState(0)


def rgb(colour):
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def gif(path):
    """The frames of a GIF, uint8 [T, H, W, 3], and their durations in milliseconds."""
    frames, durations = [], []
    with Image.open(path) as film:
        for t in range(film.n_frames):
            film.seek(t)
            frames.append(np.asarray(film.convert("RGB")))
            durations.append(film.info["duration"])
        assert film.info["loop"] == 0
    return np.stack(frames), durations


@pytest.fixture
def strips(monkeypatch):
    """The calls of `save_grid`, which still draws."""
    calls = []
    save = film_strips.save_grid

    def record(path, images, columns, **settings):
        calls.append((images, columns, settings))
        save(path, images, columns, **settings)

    monkeypatch.setattr(film_strips, "save_grid", record)
    return calls


@pytest.mark.parametrize(
    ("shape", "drawable"),
    [((5, 8, 8, 1), True), ((5, 8, 8, 3), True), ((5, 8, 8, 2), False), ((8, 8, 1), False)],
)
def test_is_film(shape, drawable):
    assert film_strips.is_film(shape) == drawable


@pytest.mark.parametrize("channels", [1, 3])
def test_border_colour_is_the_kind_of_the_frame(channels):
    films = RNG.uniform(-0.5, 1.5, (2, 3, 4, 5, channels))
    marks = np.array([[OBSERVED, PREDICTED, UNMARKED], [PREDICTED, PREDICTED, OBSERVED]])
    sheet = film_strips.framed(films, marks, border=2)
    assert sheet.shape == (2, 3, 8, 9, 3)
    inside = np.broadcast_to(np.clip(films, 0, 1), (2, 3, 4, 5, 3))
    np.testing.assert_allclose(sheet[:, :, 2:6, 2:7], inside, rtol=1e-6)
    edge = np.ones((8, 9), bool)
    edge[2:6, 2:7] = False
    for n in range(2):
        for t in range(3):
            want = np.array(rgb(BORDER_COLOURS[marks[n, t]])) / 255
            np.testing.assert_allclose(sheet[n, t][edge], np.tile(want, (edge.sum(), 1)), atol=1e-6)


@pytest.mark.parametrize(("length", "times"), [(3, [0, 1, 2]), (58, list(range(0, 58, 3)))])
def test_strips_run_along_time(tmp_path, strips, length, times):
    films = RNG.rand(2, length, 6, 6, 1)
    marks = np.full((2, length), OBSERVED)
    film_strips.strips(tmp_path / "s.png", films, marks=marks, title="Title")
    ((images, columns, settings),) = strips
    assert columns == len(times)
    assert settings["column_labels"] == list(map(str, times))
    assert settings["title"] == "Title (blue: observed, orange: predicted)"
    images = images.reshape(2, len(times), 10, 10, 3)
    np.testing.assert_allclose(images[:, :, 2:-2, 2:-2, 0], films[:, times][..., 0], rtol=1e-6)
    pixels = pyplot.imread(tmp_path / "s.png")[..., :3]
    if length > 3:
        assert pixels.shape[1] > 5 * pixels.shape[0]
    blue = (
        np.abs(pixels - np.array(rgb(BORDER_COLOURS[OBSERVED]))[None, None] / 255).max(axis=-1)
        < 0.02
    )
    assert blue.mean() > 0.02


@pytest.mark.parametrize("count", [1, 5])
def test_animation_has_every_frame_of_every_film(tmp_path, count):
    films = RNG.rand(count, 4, 30, 20, 1)
    marks = RNG.randint(3, size=(count, 4))
    film_strips.animation(tmp_path / "a.gif", films, marks=marks, columns=3)
    frames, durations = gif(tmp_path / "a.gif")
    rows, height, width = -(-count // 3), 3 * 30 + 4, 3 * 20 + 4  # enlarged by 3
    assert frames.shape == (4, rows * (height + 2) + 2 + 4, 3 * (width + 2) + 2, 3)
    assert durations == [120, 120, 120, 900]
    for i in range(count):
        top, left = 2 + (i // 3) * (height + 2), 2 + (i % 3) * (width + 2)
        film = frames[:, top : top + height, left : left + width].astype(int)
        want = films[i].repeat(3, axis=1).repeat(3, axis=2) * 255
        assert np.abs(film[:, 2:-2, 2:-2] - want).max() <= 0.5 + 255 / 480 + 0.01
        for t in range(4):
            np.testing.assert_array_equal(film[t, 0, 0], rgb(BORDER_COLOURS[marks[i, t]]))
            np.testing.assert_array_equal(film[t, -1, -1], rgb(BORDER_COLOURS[marks[i, t]]))


def test_constant_films_keep_their_frames_and_colours_are_close(tmp_path):
    """Without the time bar, equal frames would be merged."""
    grid = np.stack(np.meshgrid(*3 * [np.linspace(0, 1, 4)]), -1).reshape(1, 1, 8, 8, 3)
    films = grid.repeat(6, axis=1)
    film_strips.animation(tmp_path / "a.gif", films)
    frames, _ = gif(tmp_path / "a.gif")
    assert frames.shape == (6, 8 * 8 + 8 + 4, 8 * 8 + 8, 3)
    np.testing.assert_array_equal(frames[:, 4:68:8, 4:68:8], np.rint(255 * films[0]))
    dark = (frames[:, -1] == rgb("#222222")).all(axis=-1).mean(axis=1)
    np.testing.assert_allclose(dark, np.arange(1, 7) / 6, atol=0.01)
    many = RNG.rand(1, 2, 64, 64, 3)
    film_strips.animation(tmp_path / "m.gif", many)
    frames, _ = gif(tmp_path / "m.gif")
    error = np.abs(frames[:, 4:68, 4:68] / 255 - many[0])
    assert error.mean() < 0.08


def test_reconstructions_are_paired_with_the_data(tmp_path, strips):
    x = RNG.rand(9, 5, 6, 6, 1)
    film_strips.film_reconstructions(tmp_path / "r.png", x, x / 2, count=3)
    ((images, columns, settings),) = strips
    assert settings["row_labels"] == ["data", "reconstruction"] * 3
    films = images.reshape(3, 2, columns, 10, 10, 3)[:, :, :, 2:-2, 2:-2, 0]
    np.testing.assert_allclose(films[:, 0], x[[0, 4, 8], ..., 0], rtol=1e-6)
    np.testing.assert_allclose(films[:, 1], x[[0, 4, 8], ..., 0] / 2, rtol=1e-6)
    assert "observed" not in settings["title"]
    frames, _ = gif(tmp_path / "r.gif")
    side = 6 * 11 + 4
    assert frames.shape == (5, 2 * (side + 2) + 6, 3 * (side + 2) + 2, 3)
    above = frames[2, 4 : 4 + 66 : 11, 4 + side + 2 : 4 + side + 2 + 66 : 11, 0]
    below = frames[2, side + 6 : side + 6 + 66 : 11, 4 + side + 2 : 4 + side + 2 + 66 : 11, 0]
    np.testing.assert_allclose(above / 255, x[4, 2, ..., 0], atol=0.005)
    np.testing.assert_allclose(below / 255, x[4, 2, ..., 0] / 2, atol=0.005)


def test_samples_are_all_animated_and_some_are_strips(tmp_path, strips):
    film_strips.film_samples(tmp_path / "s.png", RNG.rand(12, 3, 64, 64, 1), "Samples")
    assert len(strips[0][0]) == 10 * 3
    assert strips[0][2]["title"] == "Samples"
    frames, _ = gif(tmp_path / "s.gif")
    assert frames.shape == (3, 3 * 70 + 2 + 4, 4 * 70 + 2, 3)


@pytest.mark.parametrize("reconstructed", [0, 4, 6])
def test_rollouts_follow_the_observed_frames(tmp_path, strips, reconstructed):
    x, predictions = RNG.rand(2, 6, 5, 5, 1), RNG.rand(2, 3, 2, 5, 5, 1)
    past = x[:, :reconstructed] / 2 if reconstructed else None
    film_strips.rollouts(tmp_path / "r.png", x, predictions, reconstruction=past)
    ((images, columns, settings),) = strips
    assert columns == 6
    rows = 5 if reconstructed else 4
    labels = ["data", *["reconstruction"] * bool(reconstructed), "rollout 1", "rollout 2"]
    assert settings["row_labels"] == [*labels, "rollout 3"] * 2
    films = images.reshape(2, rows, 6, 9, 9, 3)
    pixels, edges = films[..., 2:-2, 2:-2, 0], np.rint(255 * films[..., 0, 0, :]).astype(int)
    np.testing.assert_allclose(pixels[:, 0], x[..., 0], rtol=1e-6)
    for r in range(3):
        row = rows - 3 + r
        context = x[:, :4] if past is None else past[:, :4]
        np.testing.assert_allclose(pixels[:, row, :4], context[..., 0], rtol=1e-6)
        np.testing.assert_allclose(pixels[:, row, 4:], predictions[:, r, ..., 0], rtol=1e-6)
        np.testing.assert_array_equal(edges[0, row, :4], [rgb(BORDER_COLOURS[OBSERVED])] * 4)
        np.testing.assert_array_equal(edges[1, row, 4:], [rgb(BORDER_COLOURS[PREDICTED])] * 2)
    np.testing.assert_array_equal(edges[1, 0, :4], [rgb(BORDER_COLOURS[OBSERVED])] * 4)
    np.testing.assert_array_equal(edges[1, 0, 4:], [rgb(BORDER_COLOURS[UNMARKED])] * 2)
    if reconstructed:
        np.testing.assert_allclose(pixels[:, 1, :reconstructed], past[..., 0], rtol=1e-6)
        assert (pixels[:, 1, reconstructed:] == 1).all()  # no reconstruction
    assert len(gif(tmp_path / "r.gif")[0]) == 6
