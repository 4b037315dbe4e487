"""Which files of a folder are read, and for which split."""

import os
import struct

import numpy as np
import PIL.Image
import pytest

from tests.data.readers.folder_test import colours, save, save_all
from tests.data.readers.png_files import png
from vaejax import data


def images_of(folder, split="train", **options):
    return data.load(f"folder:{folder}", split, **options).arrays["image"]


@pytest.mark.parametrize("train", ["train", "Training", "TRAIN"])
@pytest.mark.parametrize(
    "held", ["test", "Testing", "eval", "VAL", "valid", "Validation", "dev", "TEST"]
)
def test_folders_that_name_a_split_are_splits(tmp_path, train, held):
    root = tmp_path / "data"
    save_all(root / train, colours(3))
    save_all(root / held, colours(2, seed=1))
    np.testing.assert_array_equal(images_of(root), colours(3))
    np.testing.assert_array_equal(images_of(root, "eval"), colours(2, seed=1))


def test_the_test_split_comes_before_the_validation_split(tmp_path):
    for name, seed in (("train", 0), ("val", 1), ("test", 2)):
        save_all(tmp_path / "data" / name, colours(2, seed=seed))
    np.testing.assert_array_equal(images_of(tmp_path / "data", "eval"), colours(2, seed=2))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "test", "extra"), "images in extra, beside its splits"),
        (("train", "holdout"), "images in holdout, beside its splits"),
        (("test", "cats"), "no training folder"),
        (("val",), "no training folder"),
        (("train", "Training", "test"), "more than one training folder"),
        (("cats/train", "cats/test", "dogs/train", "dogs/test"), "'test' of .* names a split"),
        (("archive/train", "archive/val"), "names a split, but is not directly inside"),
    ],
)
def test_splits_that_are_not_clear_are_refused(tmp_path, folders, message):
    root = tmp_path / "data"
    for folder in folders:
        save_all(root / folder, colours(2))
    with pytest.raises(ValueError, match=message):
        data.load(f"folder:{root}")


def test_a_folder_without_images_beside_splits_is_ignored(tmp_path):
    root = tmp_path / "data"
    for folder in ("train", "test", ".ipynb_checkpoints"):
        save_all(root / folder, colours(2))
    (root / "annotations").mkdir()
    (root / "annotations" / "boxes.json").write_text("{}")
    assert len(images_of(root)) == 2


def test_hidden_files_and_folders_are_skipped(tmp_path):
    root = tmp_path / "data"
    save_all(root / "cat", colours(2))
    save_all(root / "dog", colours(2, seed=1))
    for hidden in (".ipynb_checkpoints", "__MACOSX/cat", "cat/.thumbs"):
        save_all(root / hidden, colours(1))
    (root / "dog" / "._000.png").write_bytes(b"resource fork")
    source = data.load(f"folder:{root}", holdout=0)
    assert source.size == 4
    assert source.class_names == ("cat", "dog")


def test_linked_folders_are_followed_once_and_real_ones_keep_their_place(tmp_path):
    root, outside = tmp_path / "data", tmp_path / "elsewhere"
    save_all(root / "b", colours(2))
    save_all(outside, colours(3, seed=1))
    (root / "a").symlink_to(root / "b", target_is_directory=True)  # before it, the same images
    (root / "c").symlink_to(outside, target_is_directory=True)
    (outside / "loop").symlink_to(root, target_is_directory=True)
    source = data.load(f"folder:{root}", holdout=0)
    assert source.class_names == ("b", "c")
    np.testing.assert_array_equal(
        source.arrays["image"], np.concatenate([colours(2), colours(3, seed=1)])
    )


def test_what_cannot_be_read_is_counted_or_refused(tmp_path, caplog):
    root = tmp_path / "data"
    save_all(root, colours(3))
    (root / "dead.png").symlink_to(tmp_path / "nothing.png")
    (root / "folder").symlink_to(tmp_path / "no_folder")
    os.mkfifo(root / "pipe.png")
    assert len(images_of(root, holdout=0)) == 3
    assert "2 files, folders or links below" in caplog.text
    assert "dead.png (a link to nothing)" in caplog.text
    with pytest.raises(ValueError, match=r"2 files, .*dead\.png.*data.strict=False"):
        images_of(root, holdout=0, strict=True)


def rgba(alpha, colour, shape=(4, 4)):
    return np.concatenate(
        [np.full((*shape, 3), colour, np.uint8), np.full((*shape, 1), alpha, np.uint8)], axis=-1
    )


@pytest.mark.parametrize(
    ("background", "expected"), [("white", 255), ("black", 0)], ids=["white", "black"]
)
def test_transparent_pixels_show_the_background(tmp_path, background, expected):
    drawing = rgba(0, 0)
    drawing[1, 1, 3] = 255  # black on transparency
    drawing[2, 2] = (200, 100, 50, 128)
    save(tmp_path / "data" / "a.png", drawing)
    palette = PIL.Image.fromarray(np.zeros((4, 4), np.uint8), "P")
    palette.putpalette([10, 20, 30] + [0] * 765)
    palette.save(tmp_path / "data" / "b.png", transparency=0)
    image = images_of(tmp_path / "data", holdout=0, background=background)
    assert (image[0, 0] == expected).all()
    assert (image[0, 1, 1] == 0).all()
    mixed = np.array([200, 100, 50]) * 128 / 255 + expected * 127 / 255
    np.testing.assert_allclose(image[0, 2, 2], mixed, atol=1)
    assert (image[1] == expected).all()


def test_an_unknown_background_is_refused(tmp_path):
    with pytest.raises(ValueError, match="background must be white or black, found 'pink'"):
        data.load(f"folder:{tmp_path}", background="pink")


def test_palettes_of_greys_are_grey(tmp_path):
    indices = np.arange(16, dtype=np.uint8).reshape(4, 4)
    image = PIL.Image.fromarray(indices, "P")
    image.putpalette(np.repeat(np.arange(256, dtype=np.uint8)[::-1], 3).tolist())
    (tmp_path / "grey").mkdir()
    image.save(tmp_path / "grey" / "a.png")
    np.testing.assert_array_equal(images_of(tmp_path / "grey", holdout=0)[0, ..., 0], 255 - indices)
    image.putpalette([255, 0, 0] + [0] * 765)
    (tmp_path / "red").mkdir()
    image.save(tmp_path / "red" / "a.png")
    assert images_of(tmp_path / "red", holdout=0).shape[-1] == 3


@pytest.mark.parametrize("suffix", ["png", "tiff", "tif"])
def test_16_bits_have_one_scale_for_both_splits(tmp_path, suffix):
    random = np.random.RandomState(0)
    dark, bright = (random.randint(0, high, (2, 6, 6)).astype(np.uint16) for high in (300, 4096))
    bright[0, 0, 0] = 4095  # 12 bits
    for name, pixels in (("train", dark), ("test", bright)):
        for number, image in enumerate(pixels):
            save(tmp_path / "data" / name / f"{number}.{suffix}", image)
    for split, pixels in (("train", dark), ("eval", bright)):
        source = data.load(f"folder:{tmp_path}/data", split)
        image = np.asarray(source.decode(source.take(np.arange(2)))["image"])[..., 0]
        np.testing.assert_allclose(image, pixels / 4095, rtol=1e-6)


def test_16_bits_of_colour_and_8_bits_beside_them(tmp_path):
    random = np.random.RandomState(0)
    colour = random.randint(0, 2**16, (5, 6, 3)).astype(np.uint16)
    clear = np.concatenate([colour, np.zeros((5, 6, 1), np.uint16)], axis=-1)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(png(colour))
    (tmp_path / "data" / "b.png").write_bytes(png(clear))
    save(tmp_path / "data" / "c.png", np.full((5, 6, 3), 51, np.uint8))
    source = data.load(f"folder:{tmp_path}/data", holdout=0)
    image = np.asarray(source.decode(source.take(np.arange(3)))["image"])
    np.testing.assert_allclose(image[0], colour / 65535, rtol=1e-6)
    np.testing.assert_array_equal(image[1], 1.0)
    np.testing.assert_allclose(image[2], 0.2, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((4, 4), 2.5, np.float32), r"floats must lie in \[0, 1\], found \[2.5, 2.5\]"),
        (np.full((4, 4), np.nan, np.float32), r"floats must lie in \[0, 1\]"),
        (np.full((4, 4), 70000, np.int32), "integers must lie in 0 to 65,535, found 70000"),
    ],
)
def test_other_ranges_are_refused(tmp_path, values, message):
    save(tmp_path / "data" / "a.tiff", values)
    with pytest.raises(ValueError, match=message):
        images_of(tmp_path / "data", holdout=0)


def test_float_tiffs_and_bitmaps(tmp_path):
    values = np.random.RandomState(0).rand(4, 5).astype(np.float32)
    save(tmp_path / "float" / "a.tiff", values)
    source = data.load(f"folder:{tmp_path}/float", holdout=0)
    image = np.asarray(source.decode(source.take(np.arange(1)))["image"])[0, ..., 0]
    np.testing.assert_allclose(image, values, atol=1 / 65535)
    save(tmp_path / "bmp" / "a.bmp", colours(1)[0])
    np.testing.assert_array_equal(images_of(tmp_path / "bmp", holdout=0), colours(1))


def test_16_bits_of_grey_with_alpha(tmp_path):
    random = np.random.RandomState(0)
    pixels = random.randint(0, 2**16, (5, 6, 2)).astype(np.uint16)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(png(pixels))
    source = data.load(f"folder:{tmp_path}/data", holdout=0, background="black")
    image = np.asarray(source.decode(source.take(np.arange(1)))["image"])
    assert image.shape == (1, 5, 6, 1)
    grey, alpha = np.moveaxis(pixels / 65535, -1, 0)
    np.testing.assert_allclose(image[0, ..., 0], grey * alpha, atol=0.51 / 65535)


def tiff_of_deep_colour(side=3):
    """A TIFF file of 16 bits in colour, as its specification has it: header, pixels, tags."""
    pixels = np.full((side, side, 3), 700, "<u2").tobytes()
    bits = np.full(3, 16, "<u2").tobytes()
    end = 8 + len(pixels) + len(bits)
    tags = [(256, 3, 1, side), (257, 3, 1, side), (258, 3, 3, 8 + len(pixels)), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, side)]
    tags += [(279, 4, 1, len(pixels))]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, end) + pixels + bits + directory


def test_16_bits_of_colour_in_tiff_files_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff_of_deep_colour())
    with pytest.raises(ValueError, match=r"a\.tif: of a TIFF file of 16 bits in colour only 8"):
        images_of(tmp_path)


def test_images_larger_than_the_limit_are_refused_by_their_header(tmp_path):
    save(tmp_path / "a.png", np.zeros((60, 50, 3), np.uint8))
    images_of(tmp_path, max_bytes=9000, holdout=0)
    with pytest.raises(ValueError, match=r"a\.png: its 50 × 60 pixels .* data\.max_bytes=8999"):
        images_of(tmp_path, max_bytes=8999, holdout=0)
