"""Datasets of Hugging Face, made offline, against the arrays that they were made of."""

import io
import sys

import numpy as np
import pytest
import scipy.io.wavfile

from tests.data.readers.rows import decoded
from vaejax import data

datasets = pytest.importorskip("datasets")

PIXELS = np.random.RandomState(0).randint(0, 256, (12, 6, 6, 3)).astype(np.uint8)
CLASSES = np.arange(12) % 2


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def images(count=12, start=0, name="image"):
    part = slice(start, start + count)
    features = {name: datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    columns = {name: list(PIXELS[part]), "label": CLASSES[part].tolist()}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def save(dataset, path):
    datasets.disable_progress_bars()
    dataset.save_to_disk(str(path))
    return f"hf:{path}"


def test_images_labels_and_splits_of_a_saved_folder(tmp_path):
    parts = {"train": images(6), "validation": images(2, 6), "test": images(4, 8)}
    source = save(datasets.DatasetDict(parts), tmp_path / "saved")
    for split, part in (("train", slice(6)), ("eval", slice(8, 12)), ("validation", slice(6, 8))):
        loaded = data.load(source, split, validation="auto")
        assert loaded.class_names == ("cat", "dog")
        np.testing.assert_array_equal(loaded.arrays["image"], PIXELS[part])
        np.testing.assert_array_equal(loaded.arrays["label"], CLASSES[part])
        np.testing.assert_allclose(decoded(loaded)["image"], PIXELS[part] / 255, rtol=1e-6)
    streamed = data.load(source, max_resident_bytes=1, workers=0)
    picks = np.array([5, 0, 3])
    np.testing.assert_array_equal(streamed.read(picks)["image"], PIXELS[picks])
    np.testing.assert_array_equal(streamed.take(picks)["label"], CLASSES[picks])


def test_a_single_split_is_held_out_and_images_are_resized(tmp_path):
    source = save(images(name="img"), tmp_path / "saved")
    train, held = (
        data.load(source, split, holdout=0.25, image_size=4, channels=1)
        for split in ("train", "eval")
    )
    assert (train.size, held.size) == (9, 3)
    assert train.arrays["image"].shape == (9, 4, 4, 1)


def test_parquet_files(tmp_path):
    folder = tmp_path / "parquet"
    folder.mkdir()
    images(8).to_parquet(str(folder / "train.parquet"))
    images(4, 8).to_parquet(str(folder / "test.parquet"))
    for split, part in (("train", slice(8)), ("eval", slice(8, 12))):
        loaded = data.load(f"hf:{folder}", split)
        np.testing.assert_array_equal(loaded.arrays["image"], PIXELS[part])


def test_columns_of_numbers_are_a_vector(tmp_path):
    random = np.random.RandomState(1)
    table = {
        "age": random.randint(0, 90, 20).tolist(),
        "height": random.rand(20).tolist(),
        "pair": random.rand(20, 2).astype(np.float32).tolist(),
        "label": (np.arange(20) % 3).tolist(),
        "comment": ["text"] * 20,
    }
    source = data.load(save(datasets.Dataset.from_dict(table), tmp_path / "t"), holdout=0.0)
    assert source.column_names == ("age", "height", "pair[0]", "pair[1]")
    assert source.num_classes == 3
    expected = [table["age"], table["height"], *np.transpose(table["pair"])]
    np.testing.assert_allclose(decoded(source)["vector"], np.transpose(expected), rtol=1e-6)
    np.testing.assert_array_equal(decoded(source)["label"], table["label"])


def test_audio_is_cut_into_windows(tmp_path):
    waves = [np.random.RandomState(i).randint(-999, 999, n) for i, n in enumerate((50, 64, 31))]
    files = []
    for values in waves:
        buffer = io.BytesIO()
        scipy.io.wavfile.write(buffer, 800, values.astype(np.int16))
        files.append({"bytes": buffer.getvalue(), "path": None})
    dataset = datasets.Dataset.from_dict({"audio": files})
    dataset = dataset.cast_column("audio", datasets.Audio(decode=False))
    source = data.load(save(dataset, tmp_path / "saved"), length=30, holdout=0.0)
    expected = [waves[0][:30], waves[1][:30], waves[1][30:60], waves[2][:30]]
    np.testing.assert_allclose(decoded(source)["signal"][..., 0], np.array(expected) / 2**15)


def test_what_cannot_be_loaded_ends_in_one_line(tmp_path):
    texts = datasets.Dataset.from_dict({"text": ["a", "b"]})
    with pytest.raises(ValueError, match=r"no column of images, audio or numbers, found text \(V"):
        data.load(save(texts, tmp_path / "texts"))
    several = datasets.Dataset.from_dict({"x": [[1.0], [2.0, 3.0]]})
    with pytest.raises(ValueError, match=r"'x' of .* must hold numbers, or lists of one length"):
        data.load(save(several, tmp_path / "several"))
    with pytest.raises(FileNotFoundError, match="no folder /no/such"):
        data.load("hf:/no/such")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no dataset_dict\.json"):
        data.load(f"hf:{tmp_path / 'empty'}")


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'vaejax\[hf\]'"):
        data.load("hf:mnist")
