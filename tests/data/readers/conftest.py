"""A cache that is empty at the start of each test, and a folder of TFDS datasets."""

import pytest


@pytest.fixture(autouse=True)
def _temporary_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tfds_root(tmp_path, monkeypatch):
    """Where TFDS datasets are; there is none yet."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


@pytest.fixture
def tiny_tfds(tfds_root):
    """The examples of the splits of `tfds:tiny` 1.0.0."""
    from tests.data.readers.tfds_files import classes, image_feature, labelled, write_dataset

    splits = {"train": labelled(30), "validation": labelled(4, 1), "test": labelled(7, 2)}
    write_dataset(
        tfds_root / "tiny" / "1.0.0",
        {"image": image_feature(6, 6, 1), "label": classes(3)},
        splits,
    )
    return splits
