"""Where images land on a sheet, and that every picture is written and shows something."""

import numpy as np
import pytest

from vaejax.visualization.plots import grids_and_curves

pyplot = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.RandomState(0)


def drawn(path):
    """The picture as an array [H, W, 3 or 4], after checking that it is not of one colour."""
    assert path.read_bytes().startswith(b"\x89PNG")
    picture = pyplot.imread(path)
    assert min(picture.shape[:2]) > 30
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 10
    return picture


@pytest.mark.parametrize(
    ("shape", "drawable"),
    [
        ((8, 8, 1), True),
        ((8, 8, 3), True),
        ((8, 8, 2), False),
        ((8,), False),
        ((3, 8, 8, 1), False),
    ],
)
def test_is_image(shape, drawable):
    assert grids_and_curves.is_image(shape) == drawable


@pytest.mark.parametrize("channels", [1, 3])
def test_tile_lays_images_row_by_row_on_white(channels):
    images = 0.9 * RNG.rand(5, 4, 6, channels).astype(np.float32)
    sheet = grids_and_curves.tile(images, columns=3, gap=2)
    assert sheet.shape == (2 * (4 + 2) + 2, 3 * (6 + 2) + 2, channels)
    seen = np.zeros(sheet.shape[:2], bool)
    for i in range(5):
        row, column = divmod(i, 3)
        at = np.s_[2 + row * 6 : 6 + row * 6, 2 + column * 8 : 8 + column * 8]
        np.testing.assert_array_equal(sheet[at], images[i])
        assert not seen[at].any()
        seen[at] = True
    assert (sheet[~seen] == 1).all()  # gaps and the empty sixth place


def test_tile_clips_to_what_can_be_shown():
    sheet = grids_and_curves.tile(np.array([-1.0, 0.5, 2.0]).reshape(3, 1, 1, 1), columns=3, gap=0)
    np.testing.assert_array_equal(sheet[0, :, 0], [0.0, 0.5, 1.0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [5, 12, 30])
def test_reconstructions(tmp_path, count, channels):
    """Of few images as of many; dark data above, light reconstructions below."""
    x = 0.2 * RNG.rand(count, 8, 8, channels)
    grids_and_curves.reconstructions(tmp_path / "r.png", x, 1 - x)
    picture = drawn(tmp_path / "r.png")[..., :3].mean(axis=-1)
    dark = np.argwhere(picture[:, picture.shape[1] // 2 :] < 0.21)[:, 0]
    last_pair = picture[dark.max() + 8 :, picture.shape[1] // 2 :]
    assert ((last_pair > 0.79) & (last_pair < 0.999)).any()


def test_reconstructions_pair_each_row_of_data_with_its_own(tmp_path, monkeypatch):
    sheets = []
    monkeypatch.setattr(
        grids_and_curves, "save_grid", lambda path, images, *a, **k: sheets.append(images)
    )
    x = np.arange(6.0).reshape(6, 1, 1, 1)
    grids_and_curves.reconstructions(tmp_path / "r.png", x, x + 0.5, columns=3)
    want = [0, 1, 2, 0.5, 1.5, 2.5, 3, 4, 5, 3.5, 4.5, 5.5]
    np.testing.assert_array_equal(sheets[0].ravel(), want)


def test_samples_stand_row_by_row_in_their_own_colours(tmp_path):
    """Four images of one colour each: where in the picture that colour is."""
    colours = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], float)
    images = np.broadcast_to(colours[:, None, None], (4, 8, 8, 3))
    grids_and_curves.samples(tmp_path / "s.png", images, title="Samples")
    picture = drawn(tmp_path / "s.png")[..., :3]
    red, green, blue, yellow = (
        np.argwhere((picture == colour).all(axis=-1)) for colour in colours.astype(np.float32)
    )
    assert min(map(len, (red, green, blue, yellow))) > 400
    np.testing.assert_allclose(red.mean(axis=0)[0], green.mean(axis=0)[0], atol=1)
    np.testing.assert_allclose(red.mean(axis=0)[1], blue.mean(axis=0)[1], atol=1)
    assert red[:, 1].max() < green[:, 1].min()
    assert red[:, 0].max() < blue[:, 0].min()
    assert blue[:, 1].max() < yellow[:, 1].min()


def test_traversals(tmp_path):
    grids_and_curves.traversals(tmp_path / "t.png", RNG.rand(3, 5, 8, 8, 1), ["z1", "z2", "z3"])
    picture = drawn(tmp_path / "t.png")
    assert picture.shape[1] > picture.shape[0]  # five columns, three rows


def test_curves(tmp_path):
    records = [
        {"step": 10, "split": "train", "nll": 3.0, "kl": 1.0, "kl/0": 1.0},
        {"step": 20, "split": "train", "nll": 2.0, "kl": None},
        {"step": 20, "split": "eval", "nll": 2.5, "elbo": -3.0},
    ]
    grids_and_curves.curves(tmp_path / "c.png", records)
    drawn(tmp_path / "c.png")
    more = [*records, {"step": 30, "split": "train", **{f"x{i}": float(i) for i in range(6)}}]
    grids_and_curves.curves(tmp_path / "m.png", more)
    assert drawn(tmp_path / "m.png").shape[0] > drawn(tmp_path / "c.png").shape[0]


def test_curves_of_nothing_make_no_file(tmp_path):
    grids_and_curves.curves(tmp_path / "c.png", [{"step": 1, "split": "train"}])
    assert not (tmp_path / "c.png").exists()


def test_code_usage(tmp_path, monkeypatch):
    counts = {"codes": np.array([3, 0, 5, 2]), "dead": np.eye(64)[0], "none": np.zeros(64)}
    closed = []
    monkeypatch.setattr(pyplot, "close", closed.append)
    grids_and_curves.code_usage(tmp_path / "u.png", counts)
    monkeypatch.undo()
    drawn(tmp_path / "u.png")
    (axes,) = closed[0].axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines if len(line.get_xdata()) > 2}
    assert list(lines) == [
        "codes: 3 of 4 codes",
        "dead: 1 of 64 codes",
        "none: 0 of 64 codes",
    ]
    np.testing.assert_allclose(lines["codes: 3 of 4 codes"], [0.5, 0.3, 0.2, 0.0])
    assert axes.get_yscale() == "log"
    pyplot.close(closed[0])


def test_pictures_leave_no_figure_open(tmp_path):
    before = pyplot.get_fignums()
    grids_and_curves.samples(tmp_path / "s.png", RNG.rand(4, 8, 8, 3))
    grids_and_curves.code_usage(tmp_path / "u.png", {"codes": np.arange(8)})
    assert pyplot.get_fignums() == before
