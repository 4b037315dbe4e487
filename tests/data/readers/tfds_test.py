"""Rows of a tiny generated TFDS dataset, and of real ones if `TFDS_DATA_DIR` has them."""

import os
import pathlib
import shutil
import sys

import jax
import numpy as np
import pytest

from tests.data.readers.rows import decoded
from tests.data.readers.tfds_files import classes, image_feature, labelled, pixels, write_dataset
from vaejax import data


@pytest.mark.parametrize(
    ("split", "part"), [("train", "train"), ("eval", "test"), ("validation", "validation")]
)
def test_rows_equal_the_examples(tiny_tfds, split, part):
    for spelling in ("tiny", "tiny:1.0.0"):
        source = data.load(f"tfds:{spelling}", split)
        images = np.stack([example["image"] for example in tiny_tfds[part]])
        np.testing.assert_array_equal(source.arrays["image"], images)
        batch = decoded(source)
        np.testing.assert_allclose(batch["image"], images / 255, rtol=1e-6)
        np.testing.assert_array_equal(batch["label"], [e["label"] for e in tiny_tfds[part]])
        assert batch["label"].dtype == np.int32
        assert source.num_classes == 3
    assert "tensorflow" not in sys.modules


def test_streamed_rows_equal_resident_rows(tiny_tfds):
    resident = data.load("tfds:tiny", image_size=4, channels=3)
    streamed = data.load("tfds:tiny", image_size=4, channels=3, max_resident_bytes=10)
    assert streamed.arrays is None
    assert resident.arrays["image"].shape == (30, 4, 4, 3)
    picks = np.array([29, 0, 3, 3, -2])
    for field, value in resident.take(picks).items():
        np.testing.assert_array_equal(streamed.take(picks)[field], value)
        np.testing.assert_array_equal(resident.arrays[field][picks], value)


def test_decoded_rows_are_cached(tiny_tfds, tfds_root, tmp_path):
    first = data.load("tfds:tiny")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    folder = tfds_root / "tiny" / "1.0.0"
    sizes = {file.name: file.stat().st_size for file in folder.glob("*.array_record-*")}
    shutil.rmtree(folder)  # the same examples in another order, in files of the same size
    splits = {**tiny_tfds, "train": tiny_tfds["train"][::-1]}
    write_dataset(folder, {"image": image_feature(6, 6, 1), "label": classes(3)}, splits)
    assert {f.name: f.stat().st_size for f in folder.glob("*.array_record-*")} == sizes
    again, resized = data.load("tfds:tiny"), data.load("tfds:tiny", image_size=4)
    for field, value in first.arrays.items():
        np.testing.assert_array_equal(again.arrays[field], value)
    np.testing.assert_array_equal(resized.arrays["label"], first.arrays["label"][::-1])


def test_the_validation_split_is_used_without_a_test_split(tfds_root):
    splits = {"train": labelled(3), "validation": labelled(4, 1)}
    write_dataset(
        tfds_root / "tiny" / "1.0.0", {"image": image_feature(6, 6, 1), "label": classes(3)}, splits
    )
    assert (data.load("tfds:tiny").size, data.load("tfds:tiny", "eval").size) == (3, 4)
    with pytest.raises(ValueError, match="no validation split"):
        data.load("tfds:tiny", "validation")


def test_factors_of_a_single_split(tfds_root):
    features = {
        "image": image_feature(6, 6, 1),
        "label_size": classes(4),
        "label_hue": classes(5),
        "value_hue": np.float32,
    }
    examples = [
        {"image": (p > 127).astype(np.uint8), "label_size": i % 4, "label_hue": i % 5}
        | {"value_hue": 0.5}
        for i, p in enumerate(pixels(20))
    ]
    write_dataset(tfds_root / "shapes" / "2.0.0", features, {"train": examples})
    train, held = (data.load("tfds:shapes", split, holdout=0.25) for split in ("train", "eval"))
    assert (train.size, held.size) == (15, 5)
    assert train.factor_names == ("hue", "size")
    assert train.factor_sizes == (5, 4)
    assert train.num_classes is None
    batch = decoded(data.load("tfds:shapes", holdout=0))
    i = np.arange(20)
    np.testing.assert_array_equal(batch["factors"], np.stack([i % 5, i % 4], -1))
    # Zeros and ones are not rescaled, unless resizing makes grey levels.
    np.testing.assert_array_equal(batch["image"], pixels(20) > 127)
    assert 0 < decoded(data.load("tfds:shapes", image_size=3))["image"].mean() < 1


def test_images_of_different_sizes_become_squares(tfds_root):
    examples = [{"image": np.full((20 + 8 * k, 90, 3), 40 * k, np.uint8)} for k in range(4)]
    write_dataset(
        tfds_root / "photos" / "1.0.0", {"image": image_feature(None, None, 3)}, {"train": examples}
    )
    source = data.load("tfds:photos", holdout=0)
    assert source.arrays["image"].shape == (4, 64, 64, 3)
    np.testing.assert_array_equal(source.arrays["image"].mean((1, 2, 3)), [0, 40, 80, 120])


@pytest.mark.slow
def test_videos_become_sequences(tfds_root):
    pytest.importorskip("tensorflow", reason="TFDS needs TensorFlow to read videos")
    import tensorflow_datasets as tfds

    frames = pixels(5, (3, 6, 6, 1))
    features = {"image_sequence": tfds.features.Video(shape=(3, 6, 6, 1))}
    examples = [{"image_sequence": list(video)} for video in frames]
    write_dataset(tfds_root / "moving" / "1.0.0", features, {"test": examples})
    source = data.load("tfds:moving", holdout=0)
    np.testing.assert_array_equal(source.arrays["sequence"], frames)
    assert data.load("tfds:moving", "eval", holdout=0.2).size == 1


@pytest.mark.parametrize(
    ("name", "sizes", "mean"),
    [
        ("mnist", (60000, 10000), 0.1307),
        ("fashion_mnist", (60000, 10000), 0.2860),
        ("binarized_mnist", (50000, 10000), 0.1307),
    ],
)
def test_real_datasets(name, sizes, mean):
    folder = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "")) / name
    if not (os.environ.get("TFDS_DATA_DIR") and folder.is_dir()):
        pytest.skip(f"TFDS_DATA_DIR names no folder with {name}")
    train = data.load(f"tfds:{name}", max_resident_bytes=0)
    held = data.load(f"tfds:{name}", "eval")
    assert (train.size, held.size) == sizes
    picks = np.random.default_rng(0).integers(0, train.size, 3000)
    batch = jax.jit(train.decode)(train.take(picks))
    assert batch["image"].shape == (3000, 28, 28, 1)
    assert batch["image"].max() == 1
    np.testing.assert_allclose(batch["image"].mean(), mean, atol=0.005)
    if name == "binarized_mnist":
        assert set(np.unique(held.arrays["image"])) == {0, 1}
    else:
        assert train.num_classes == 10
        assert set(np.unique(held.arrays["label"])) == set(range(10))


def test_16_bits_keep_them_with_one_scale_for_all_splits(tfds_root):
    import tensorflow_datasets as tfds

    random = np.random.default_rng(0)
    parts = {"train": random.integers(0, 300, (3, 6, 6, 1), dtype=np.uint16)}
    parts["test"] = random.integers(0, 4096, (2, 6, 6, 1), dtype=np.uint16)
    parts["test"][0, 0, 0, 0] = 4095  # 12 bits
    feature = {"image": tfds.features.Image(shape=(6, 6, 1), dtype=np.uint16)}
    splits = {name: [{"image": image} for image in images] for name, images in parts.items()}
    write_dataset(tfds_root / "deep" / "1.0.0", feature, splits)
    for split, name in (("train", "train"), ("eval", "test")):
        source = data.load("tfds:deep", split)
        rows = source.take(np.arange(source.size))
        np.testing.assert_array_equal(rows["image"], parts[name])
        decoded = np.asarray(source.decode(rows)["image"])
        np.testing.assert_allclose(decoded, parts[name] / 4095, rtol=1e-6)
