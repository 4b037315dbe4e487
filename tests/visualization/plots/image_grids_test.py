"""Grids of images: positions on the sheet, and files that are not blank."""

import numpy as np
import pytest

from vaejax.visualization.plots import image_grids

pyplot = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.RandomState(0)


def read_figure(path):
    """The pixels [H, W, 3 or 4] of a figure, checked to have several colours."""
    assert path.read_bytes().startswith(b"\x89PNG")
    pixels = pyplot.imread(path)
    assert min(pixels.shape[:2]) > 30
    assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 10
    return pixels


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
    assert image_grids.is_image(shape) == drawable


@pytest.mark.parametrize("channels", [1, 3])
def test_tile_arranges_images_row_by_row_on_white(channels):
    images = 0.9 * RNG.rand(5, 4, 6, channels).astype(np.float32)
    sheet = image_grids.tile(images, columns=3, gap=2)
    assert sheet.shape == (2 * (4 + 2) + 2, 3 * (6 + 2) + 2, channels)
    covered = np.zeros(sheet.shape[:2], bool)
    for i in range(5):
        row, column = divmod(i, 3)
        at = np.s_[2 + row * 6 : 6 + row * 6, 2 + column * 8 : 8 + column * 8]
        np.testing.assert_array_equal(sheet[at], images[i])
        assert not covered[at].any()
        covered[at] = True
    assert (sheet[~covered] == 1).all()  # gaps and the empty sixth place


def test_tile_clips_to_0_and_1():
    sheet = image_grids.tile(np.array([-1.0, 0.5, 2.0]).reshape(3, 1, 1, 1), columns=3, gap=0)
    np.testing.assert_array_equal(sheet[0, :, 0], [0.0, 0.5, 1.0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [5, 12, 30])
def test_reconstructions(tmp_path, count, channels):
    """Few and many images; dark data above light reconstructions."""
    x = 0.2 * RNG.rand(count, 8, 8, channels)
    image_grids.image_reconstructions(tmp_path / "r.png", x, 1 - x)
    pixels = read_figure(tmp_path / "r.png")[..., :3].mean(axis=-1)
    dark = np.argwhere(pixels[:, pixels.shape[1] // 2 :] < 0.21)[:, 0]
    last_pair = pixels[dark.max() + 8 :, pixels.shape[1] // 2 :]
    assert ((last_pair > 0.79) & (last_pair < 0.999)).any()


def test_each_row_of_data_is_paired_with_its_reconstructions(tmp_path, monkeypatch):
    sheets = []
    monkeypatch.setattr(
        image_grids, "save_grid", lambda path, images, *a, **k: sheets.append(images)
    )
    x = np.arange(6.0).reshape(6, 1, 1, 1)
    image_grids.image_reconstructions(tmp_path / "r.png", x, x + 0.5, columns=3)
    want = [0, 1, 2, 0.5, 1.5, 2.5, 3, 4, 5, 3.5, 4.5, 5.5]
    np.testing.assert_array_equal(sheets[0].ravel(), want)


def test_samples_are_arranged_row_by_row(tmp_path):
    """Four images of one colour each, found in the figure by their colours."""
    colours = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], float)
    images = np.broadcast_to(colours[:, None, None], (4, 8, 8, 3))
    image_grids.image_samples(tmp_path / "s.png", images, title="Samples")
    pixels = read_figure(tmp_path / "s.png")[..., :3]
    red, green, blue, yellow = (
        np.argwhere((pixels == colour).all(axis=-1)) for colour in colours.astype(np.float32)
    )
    assert min(map(len, (red, green, blue, yellow))) > 400
    np.testing.assert_allclose(red.mean(axis=0)[0], green.mean(axis=0)[0], atol=1)
    np.testing.assert_allclose(red.mean(axis=0)[1], blue.mean(axis=0)[1], atol=1)
    assert red[:, 1].max() < green[:, 1].min()
    assert red[:, 0].max() < blue[:, 0].min()
    assert blue[:, 1].max() < yellow[:, 1].min()


def test_traversals(tmp_path):
    image_grids.traversals(tmp_path / "t.png", RNG.rand(3, 5, 8, 8, 1), ["z1", "z2", "z3"])
    pixels = read_figure(tmp_path / "t.png")
    assert pixels.shape[1] > pixels.shape[0]  # five columns, three rows


def test_figures_are_closed(tmp_path):
    before = pyplot.get_fignums()
    image_grids.image_samples(tmp_path / "s.png", RNG.rand(4, 8, 8, 3))
    assert pyplot.get_fignums() == before
