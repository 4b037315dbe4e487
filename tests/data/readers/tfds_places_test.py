"""Where TFDS datasets are found: names, versions, configs, folders, and what is missing."""

import sys

import pytest

from tests.data.readers.tfds_files import classes, image_feature, pixels, write_dataset
from vaejax import data

VIDEO_FEATURES = """{
  "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
  "featuresDict": {"features": {"image_sequence": {
    "pythonClassName": "tensorflow_datasets.core.features.video_feature.Video",
    "video": {"shape": {"dimensions": ["3", "6", "6", "1"]}, "dtype": "uint8"}
  }}}
}"""


def test_videos_without_tensorflow_are_reported(tfds_root, monkeypatch):
    write_dataset(tfds_root / "moving" / "1.0.0", {"image": image_feature(6, 6, 1)}, {"test": []})
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tfds_root / "moving/1.0.0/features.json").write_text(VIDEO_FEATURES)
    with pytest.raises(ImportError, match=r"needs TensorFlow.*vaejax\[tfds,tf\]"):
        data.load("tfds:moving")


def test_the_newest_version_and_the_named_config_are_read(tfds_root):
    for number, place in enumerate(["a/9.0.0", "a/10.0.0", "b/1.0.0"]):
        examples = [{"image": p} for p in pixels(4 + number)]
        write_dataset(
            tfds_root / "many" / place, {"image": image_feature(6, 6, 1)}, {"train": examples}
        )
    with pytest.raises(ValueError, match="tfds:many/a, tfds:many/b"):
        data.load("tfds:many")
    for spelling, size in {"many/a": 5, "many/a:9.0.0": 4, "many/b": 6}.items():
        assert data.load(f"tfds:{spelling}", holdout=0).size == size


def test_a_missing_dataset_is_reported(tiny_tfds, tfds_root):
    with pytest.raises(FileNotFoundError) as error:
        data.load("tfds:tinny")
    message = str(error.value)
    assert "Did you mean tfds:tiny?" in message
    assert "pip install 'vaejax[tfds,tf]'" in message
    assert f"tfds build tinny --file_format=array_record --data_dir={tfds_root}" in message
    with pytest.raises(FileNotFoundError, match=r"Prepared are tiny/1\.0\.0"):
        data.load("tfds:tiny:2.0.0")
    with pytest.raises(FileNotFoundError, match="Prepared are tiny"):
        data.load("tfds:celeb_a")
    with pytest.raises(FileNotFoundError, match=r"not prepared in .*nowhere"):
        data.load("tfds:tiny", data_dir=str(tfds_root / "nowhere"))


def test_data_dir_overrides_the_environment(tiny_tfds, tfds_root, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_root / "nowhere"))
    assert data.load("tfds:tiny", data_dir=str(tfds_root)).size == 30


def test_a_malformed_name_is_reported(tfds_root):
    with pytest.raises(ValueError, match="tfds:NAME"):
        data.load("tfds:mnist:latest")


def test_another_file_format_is_reported(tfds_root):
    features = {"image": image_feature(6, 6, 1)}
    write_dataset(tfds_root / "old" / "1.0.0", features, {"train": []}, file_format="tfrecord")
    with pytest.raises(ValueError, match="tfrecord") as error:
        data.load("tfds:old")
    assert "tfds build old --file_format=array_record" in str(error.value)


def test_a_missing_file_is_reported(tiny_tfds, tfds_root):
    (tfds_root / "tiny/1.0.0/tiny-train.array_record-00000-of-00001").unlink()
    with pytest.raises(FileNotFoundError, match="tiny-train"):
        data.load("tfds:tiny")


def test_a_dataset_without_images_is_rejected(tfds_root):
    write_dataset(tfds_root / "plain" / "1.0.0", {"label": classes(3)}, {"train": [{"label": 1}]})
    with pytest.raises(ValueError, match=r"image.*video.*\['label'\]"):
        data.load("tfds:plain")


def test_a_missing_package_is_reported_with_its_extra(tiny_tfds, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"vaejax\[tfds\]"):
        data.load("tfds:tiny")
