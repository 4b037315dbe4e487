"""Tests on a tiny generated TFDS dataset, and on real ones if `TFDS_DATA_DIR` has them."""

import io
import json
import os
import pathlib
import shutil
import sys

import jax
import numpy as np
import PIL.Image
import pytest

from vaejax import data

array_record = pytest.importorskip("array_record.python.array_record_module")
pytest.importorskip("tensorflow_datasets")


VIDEO_FEATURES = """{
  "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
  "featuresDict": {"features": {"image_sequence": {
    "pythonClassName": "tensorflow_datasets.core.features.video_feature.Video",
    "video": {"shape": {"dimensions": ["3", "6", "6", "1"]}, "dtype": "uint8"}
  }}}
}"""


@pytest.fixture(autouse=True)
def _temporary_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def proto_feature(value):
    from tensorflow_datasets.proto import tf_feature_pb2 as proto

    if isinstance(value, list):
        return proto.Feature(bytes_list=proto.BytesList(value=[png(frame) for frame in value]))
    if isinstance(value, np.ndarray):
        return proto.Feature(bytes_list=proto.BytesList(value=[png(value)]))
    if isinstance(value, float):
        return proto.Feature(float_list=proto.FloatList(value=[value]))
    return proto.Feature(int64_list=proto.Int64List(value=[value]))


def png(pixels):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_dataset(folder, features, splits, file_format="array_record"):
    """Writes NAME[/CONFIG]/VERSION as TFDS builders do, without TensorFlow."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    folder.mkdir(parents=True)
    name, *config = folder.relative_to(os.environ["TFDS_DATA_DIR"]).parts[:-1]
    entries = []
    for split, examples in splits.items():
        file = folder / f"{name}-{split}.array_record-00000-of-00001"
        writer = array_record.ArrayRecordWriter(str(file), "group_size:1")
        for example in examples:
            fields = {key: proto_feature(value) for key, value in example.items()}
            message = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=fields))
            writer.write(message.SerializeToString())
        writer.close()
        entry = {"name": split, "numBytes": "1", "shardLengths": [str(len(examples))]}
        entries.append(
            entry | {"filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}
        )
    tfds.features.FeaturesDict(features).save_config(str(folder))
    info = {"name": name, "version": folder.name, "fileFormat": file_format, "splits": entries}
    info |= {"configName": config[0]} if config else {}
    (folder / "dataset_info.json").write_text(json.dumps(info | {"moduleName": "tests.none"}))


def image_feature(*shape):
    import tensorflow_datasets as tfds

    return tfds.features.Image(shape=shape)


def classes(count):
    import tensorflow_datasets as tfds

    return tfds.features.ClassLabel(num_classes=count)


def pixels(count, shape=(6, 6, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def labelled(count, seed=0):
    return [{"image": p, "label": i % 3} for i, p in enumerate(pixels(count, seed=seed))]


@pytest.fixture
def tiny(root):
    splits = {"train": labelled(30), "validation": labelled(4, 1), "test": labelled(7, 2)}
    write_dataset(
        root / "tiny" / "1.0.0", {"image": image_feature(6, 6, 1), "label": classes(3)}, splits
    )
    return splits


def decoded(source):
    return jax.device_get(jax.jit(source.decode)(source.take(np.arange(source.size))))


@pytest.mark.parametrize(
    ("split", "part"), [("train", "train"), ("eval", "test"), ("validation", "validation")]
)
def test_rows_equal_the_examples(tiny, split, part):
    for spelling in ("tiny", "tiny:1.0.0"):
        source = data.load(f"tfds:{spelling}", split)
        images = np.stack([example["image"] for example in tiny[part]])
        np.testing.assert_array_equal(source.arrays["image"], images)
        batch = decoded(source)
        np.testing.assert_allclose(batch["image"], images / 255, rtol=1e-6)
        np.testing.assert_array_equal(batch["label"], [e["label"] for e in tiny[part]])
        assert batch["label"].dtype == np.int32
        assert source.num_classes == 3
    assert "tensorflow" not in sys.modules


def test_streamed_rows_equal_resident_rows(tiny):
    resident = data.load("tfds:tiny", image_size=4, channels=3)
    streamed = data.load("tfds:tiny", image_size=4, channels=3, max_resident_bytes=10)
    assert streamed.arrays is None
    assert resident.arrays["image"].shape == (30, 4, 4, 3)
    picks = np.array([29, 0, 3, 3, -2])
    for field, value in resident.take(picks).items():
        np.testing.assert_array_equal(streamed.take(picks)[field], value)
        np.testing.assert_array_equal(resident.arrays[field][picks], value)


def test_decoded_rows_are_cached(tiny, root, tmp_path):
    first = data.load("tfds:tiny")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    folder = root / "tiny" / "1.0.0"
    sizes = {file.name: file.stat().st_size for file in folder.glob("*.array_record-*")}
    shutil.rmtree(folder)  # the same examples in another order, in files of the same size
    splits = {**tiny, "train": tiny["train"][::-1]}
    write_dataset(folder, {"image": image_feature(6, 6, 1), "label": classes(3)}, splits)
    assert {f.name: f.stat().st_size for f in folder.glob("*.array_record-*")} == sizes
    again, resized = data.load("tfds:tiny"), data.load("tfds:tiny", image_size=4)
    for field, value in first.arrays.items():
        np.testing.assert_array_equal(again.arrays[field], value)
    np.testing.assert_array_equal(resized.arrays["label"], first.arrays["label"][::-1])


def test_the_validation_split_is_used_without_a_test_split(root):
    splits = {"train": labelled(3), "validation": labelled(4, 1)}
    write_dataset(
        root / "tiny" / "1.0.0", {"image": image_feature(6, 6, 1), "label": classes(3)}, splits
    )
    assert (data.load("tfds:tiny").size, data.load("tfds:tiny", "eval").size) == (3, 4)
    with pytest.raises(ValueError, match="no validation split"):
        data.load("tfds:tiny", "validation")


def test_factors_of_a_single_split(root):
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
    write_dataset(root / "shapes" / "2.0.0", features, {"train": examples})
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


def test_images_of_different_sizes_become_squares(root):
    examples = [{"image": np.full((20 + 8 * k, 90, 3), 40 * k, np.uint8)} for k in range(4)]
    write_dataset(
        root / "photos" / "1.0.0", {"image": image_feature(None, None, 3)}, {"train": examples}
    )
    source = data.load("tfds:photos", holdout=0)
    assert source.arrays["image"].shape == (4, 64, 64, 3)
    np.testing.assert_array_equal(source.arrays["image"].mean((1, 2, 3)), [0, 40, 80, 120])


def test_videos_become_sequences(root):
    pytest.importorskip("tensorflow", reason="TFDS needs TensorFlow to read videos")
    import tensorflow_datasets as tfds

    frames = pixels(5, (3, 6, 6, 1))
    features = {"image_sequence": tfds.features.Video(shape=(3, 6, 6, 1))}
    examples = [{"image_sequence": list(video)} for video in frames]
    write_dataset(root / "moving" / "1.0.0", features, {"test": examples})
    source = data.load("tfds:moving", holdout=0)
    np.testing.assert_array_equal(source.arrays["sequence"], frames)
    assert data.load("tfds:moving", "eval", holdout=0.2).size == 1


def test_videos_without_tensorflow_are_reported(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    write_dataset(root / "moving" / "1.0.0", {"image": image_feature(6, 6, 1)}, {"test": []})
    (root / "moving/1.0.0/features.json").write_text(VIDEO_FEATURES)
    with pytest.raises(ImportError, match=r"needs TensorFlow.*vaejax\[tfds,tf\]"):
        data.load("tfds:moving")


def test_the_newest_version_and_the_named_config_are_read(root):
    for number, place in enumerate(["a/9.0.0", "a/10.0.0", "b/1.0.0"]):
        examples = [{"image": p} for p in pixels(4 + number)]
        write_dataset(root / "many" / place, {"image": image_feature(6, 6, 1)}, {"train": examples})
    with pytest.raises(ValueError, match="tfds:many/a, tfds:many/b"):
        data.load("tfds:many")
    for spelling, size in {"many/a": 5, "many/a:9.0.0": 4, "many/b": 6}.items():
        assert data.load(f"tfds:{spelling}", holdout=0).size == size


def test_a_missing_dataset_is_reported(tiny, root):
    with pytest.raises(FileNotFoundError) as error:
        data.load("tfds:tinny")
    message = str(error.value)
    assert "Did you mean tfds:tiny?" in message
    assert "pip install 'vaejax[tfds,tf]'" in message
    assert f"tfds build tinny --file_format=array_record --data_dir={root}" in message
    with pytest.raises(FileNotFoundError, match=r"Prepared are tiny/1\.0\.0"):
        data.load("tfds:tiny:2.0.0")
    with pytest.raises(FileNotFoundError, match="Prepared are tiny"):
        data.load("tfds:celeb_a")
    with pytest.raises(FileNotFoundError, match=r"not prepared in .*nowhere"):
        data.load("tfds:tiny", data_dir=str(root / "nowhere"))


def test_data_dir_overrides_the_environment(tiny, root, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(root / "nowhere"))
    assert data.load("tfds:tiny", data_dir=str(root)).size == 30


def test_a_malformed_name_is_reported(root):
    with pytest.raises(ValueError, match="tfds:NAME"):
        data.load("tfds:mnist:latest")


def test_another_file_format_is_reported(root):
    features = {"image": image_feature(6, 6, 1)}
    write_dataset(root / "old" / "1.0.0", features, {"train": []}, file_format="tfrecord")
    with pytest.raises(ValueError, match="tfrecord") as error:
        data.load("tfds:old")
    assert "tfds build old --file_format=array_record" in str(error.value)


def test_a_missing_file_is_reported(tiny, root):
    (root / "tiny/1.0.0/tiny-train.array_record-00000-of-00001").unlink()
    with pytest.raises(FileNotFoundError, match="tiny-train"):
        data.load("tfds:tiny")


def test_a_dataset_without_images_is_rejected(root):
    write_dataset(root / "plain" / "1.0.0", {"label": classes(3)}, {"train": [{"label": 1}]})
    with pytest.raises(ValueError, match=r"image.*video.*\['label'\]"):
        data.load("tfds:plain")


def test_a_missing_package_is_reported_with_its_extra(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"vaejax\[tfds\]"):
        data.load("tfds:tiny")


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


def test_16_bits_keep_them_with_one_scale_for_all_splits(root):
    import tensorflow_datasets as tfds

    random = np.random.default_rng(0)
    parts = {"train": random.integers(0, 300, (3, 6, 6, 1), dtype=np.uint16)}
    parts["test"] = random.integers(0, 4096, (2, 6, 6, 1), dtype=np.uint16)
    parts["test"][0, 0, 0, 0] = 4095  # 12 bits
    feature = {"image": tfds.features.Image(shape=(6, 6, 1), dtype=np.uint16)}
    splits = {name: [{"image": image} for image in images] for name, images in parts.items()}
    write_dataset(root / "deep" / "1.0.0", feature, splits)
    for split, name in (("train", "train"), ("eval", "test")):
        source = data.load("tfds:deep", split)
        rows = source.take(np.arange(source.size))
        np.testing.assert_array_equal(rows["image"], parts[name])
        decoded = np.asarray(source.decode(rows)["image"])
        np.testing.assert_allclose(decoded, parts[name] / 4095, rtol=1e-6)
