"""Tests on folders of generated image files."""

import numpy as np
import PIL.Image
import pytest

from tests.data.readers.rows import decoded
from vaejax import data


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


def colours(count, shape=(8, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def save_all(folder, pixels):
    for number, image in enumerate(pixels):
        save(folder / f"{number:03}.png", image)


def test_files_are_in_sorted_order(tmp_path):
    pixels = colours(12)
    save_all(tmp_path / "data", pixels)
    source = data.load(f"folder:{tmp_path}/data", holdout=0)
    np.testing.assert_array_equal(source.arrays["image"], pixels)
    np.testing.assert_allclose(decoded(source)["image"], pixels / 255, rtol=1e-6)
    assert source.num_classes is None


def test_streamed_rows_equal_resident_rows_in_both_splits(tmp_path):
    save_all(tmp_path / "data", colours(12))
    taken = []
    for split in ("train", "eval"):
        resident = data.load(f"folder:{tmp_path}/data", split, holdout=0.25)
        streamed = data.load(f"folder:{tmp_path}/data", split, holdout=0.25, max_resident_bytes=1)
        assert streamed.arrays is None
        picks = np.array([1, 0, -1, 1])
        np.testing.assert_array_equal(
            streamed.take(picks)["image"], resident.arrays["image"][picks]
        )
        taken.append(resident.arrays["image"])
    assert [len(images) for images in taken] == [9, 3]
    together = np.concatenate(taken).reshape(12, -1)
    assert len(np.unique(together, axis=0)) == 12


def test_sub_folders_are_splits_and_classes(tmp_path):
    save_all(tmp_path / "train" / "cat", colours(3))
    save_all(tmp_path / "train" / "dog" / "deep", colours(2, seed=1))
    save_all(tmp_path / "test" / "dog", colours(2, seed=2))
    train, held = (data.load(f"folder:{tmp_path}", split) for split in ("train", "eval"))
    assert train.class_names == held.class_names == ("cat", "dog")
    np.testing.assert_array_equal(decoded(train)["label"], [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(decoded(held)["label"], [1, 1])
    np.testing.assert_array_equal(held.arrays["image"], colours(2, seed=2))


def test_a_single_sub_folder_is_not_a_class(tmp_path):
    save_all(tmp_path / "all", colours(3))
    assert "label" not in data.load(f"folder:{tmp_path}", holdout=0).arrays


def test_images_of_different_sizes_become_64_by_64(tmp_path):
    save(tmp_path / "a.png", np.full((100, 80, 3), 10, np.uint8))
    save(tmp_path / "b.jpg", np.full((30, 90, 3), 200, np.uint8))
    save(tmp_path / "c.webp", np.full((64, 64, 3), 90, np.uint8))
    source = data.load(f"folder:{tmp_path}", holdout=0)
    assert source.arrays["image"].shape == (3, 64, 64, 3)
    means = source.arrays["image"].mean((1, 2, 3))
    np.testing.assert_allclose(means, [10, 200, 90], atol=2)


def test_resizing_keeps_the_centre(tmp_path):
    wide = np.zeros((16, 48), np.uint8)
    wide[:, 16:32] = 255
    save(tmp_path / "a.png", wide)
    source = data.load(f"folder:{tmp_path}", image_size=8, holdout=0)
    assert source.arrays["image"].shape == (1, 8, 8, 1)
    assert (source.arrays["image"][:, :, 1:-1] == 255).all()
    assert (source.arrays["image"] > 200).all()


def test_equal_rectangular_images_keep_their_shape(tmp_path):
    pixels = colours(2, (4, 6, 3))
    save_all(tmp_path, pixels)
    np.testing.assert_array_equal(
        data.load(f"folder:{tmp_path}", holdout=0).arrays["image"], pixels
    )


def test_channels_are_converted(tmp_path):
    save_all(tmp_path / "grey", colours(2, (4, 4)))
    assert data.load(f"folder:{tmp_path}/grey", holdout=0).arrays["image"].shape[-1] == 1
    three = data.load(f"folder:{tmp_path}/grey", channels=3, holdout=0).arrays["image"]
    np.testing.assert_array_equal(three, np.repeat(colours(2, (4, 4))[..., None], 3, -1))
    save_all(tmp_path / "mixed", [colours(1, (4, 4))[0], colours(1, (4, 4, 3))[0]])
    assert data.load(f"folder:{tmp_path}/mixed", holdout=0).arrays["image"].shape[-1] == 3
    one = data.load(f"folder:{tmp_path}/mixed", channels=1, holdout=0)
    assert one.arrays["image"].shape[-1] == 1


def test_16_bit_images_and_exif_rotation(tmp_path):
    save(tmp_path / "deep" / "a.png", np.full((4, 4), 0x80FF, np.uint16))
    deep = data.load(f"folder:{tmp_path}/deep", holdout=0)
    np.testing.assert_allclose(decoded(deep)["image"], 0x80FF / 0xFFFF, rtol=1e-6)
    sideways = PIL.Image.Exif()
    sideways[0x0112] = 6
    save(tmp_path / "turned" / "a.png", colours(1, (4, 6, 3))[0], exif=sideways)
    turned = data.load(f"folder:{tmp_path}/turned", holdout=0)
    np.testing.assert_array_equal(turned.arrays["image"][0], np.rot90(colours(1, (4, 6, 3))[0], -1))


def test_changed_files_are_decoded_again(tmp_path):
    save_all(tmp_path / "data", colours(3))
    data.load(f"folder:{tmp_path}/data", holdout=0)
    save_all(tmp_path / "data", colours(3, seed=5))
    source = data.load(f"folder:{tmp_path}/data", holdout=0)
    np.testing.assert_array_equal(source.arrays["image"], colours(3, seed=5))


def test_an_unreadable_file_is_reported(tmp_path):
    save_all(tmp_path / "data", colours(3))
    broken = tmp_path / "data" / "001.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"001\.png"):
        data.load(f"folder:{tmp_path}/data", holdout=0)
    broken.write_text("no image")
    with pytest.raises(ValueError, match=r"001\.png"):
        data.load(f"folder:{tmp_path}/data", holdout=0)


def test_missing_and_empty_folders_are_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        data.load(f"folder:{tmp_path}/nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no image files below .*empty"):
        data.load(f"folder:{tmp_path}/empty")
