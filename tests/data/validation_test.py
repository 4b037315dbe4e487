"""The validation split: its examples, and settings that name none."""

import numpy as np
import pytest
from PIL import Image

from vaejax import data
from vaejax.data.load_options import LoadOptions
from vaejax.data.validation import resolve_validation

TRAIN, TEST, VALID = range(40), range(40, 50), range(50, 56)


def vectors(numbers):
    return np.repeat(np.array(numbers, np.float32)[:, None], 3, axis=1)


def numbers_of(source):
    return source.take(np.arange(source.size))["vector"][:, 0].astype(int).tolist()


@pytest.fixture(name="three", scope="module")
def three_splits(tmp_path_factory):
    """An npz file with three splits."""
    path = tmp_path_factory.mktemp("npz") / "three.npz"
    arrays = {"x_train": vectors(TRAIN), "x_test": vectors(TEST), "val_x": vectors(VALID)}
    np.savez(path, **arrays)
    return f"npz:{path}"


@pytest.fixture(name="one", scope="module")
def one_split(tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "one.npz"
    np.savez(path, x=vectors(range(50)))
    return f"npz:{path}"


def test_the_split_of_the_data_is_used(three):
    assert numbers_of(data.load(three, "validation")) == list(VALID)
    assert numbers_of(data.load(three, "validation", validation="val")) == list(VALID)
    for setting in ("auto", "none", "val"):
        assert numbers_of(data.load(three, "train", validation=setting)) == list(TRAIN)
        assert numbers_of(data.load(three, "eval", validation=setting)) == list(TEST)


@pytest.mark.parametrize("fixture", ["three", "one"])
def test_a_fraction_splits_the_training_data(fixture, request):
    source = request.getfixturevalue(fixture)
    before = {split: numbers_of(data.load(source, split)) for split in ("train", "eval")}
    after = {
        split: numbers_of(data.load(source, split, validation="0.2"))
        for split in ("train", "eval", "validation")
    }
    assert after["eval"] == before["eval"]
    assert sorted(after["train"] + after["validation"]) == before["train"]
    assert len(after["validation"]) == round(0.2 * len(before["train"]))
    assert after["validation"] != before["train"][: len(after["validation"])]


def test_streamed_data_are_split_alike(three):
    whole = data.load(three, "validation", validation="0.2")
    streamed = data.load(three, "validation", validation="0.2", max_resident_bytes=1)
    assert streamed.arrays is None
    assert numbers_of(streamed) == numbers_of(whole)


def test_generated_data_have_a_fraction():
    parts = [
        data.load("synthetic:factors", split, validation="0.1") for split in ("train", "validation")
    ]
    assert [part.size for part in parts] == [900, 100]
    assert parts[1].split == "validation"


def test_arrays_in_memory():
    arrays = {"x_train": vectors(TRAIN), "x_test": vectors(TEST), "dev_x": vectors(VALID)}
    assert numbers_of(data.from_arrays(arrays, "validation")) == list(VALID)
    for arrays in (vectors(TRAIN), {"x_train": vectors(TRAIN), "x_val": vectors(VALID)}):
        with pytest.raises(ValueError, match="no validation split"):
            data.from_arrays(arrays, "validation")


def test_folders(tmp_path):
    for number, name in enumerate(("train", "test", "Valid")):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = np.full((4, 4, 3), 10 * number + i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    source = f"folder:{tmp_path}"
    assert resolve_validation(source, "auto", LoadOptions(source)) == "valid"
    rows = data.load(source, "validation").take(np.arange(3))["image"]
    assert rows[:, 0, 0, 0].tolist() == [20, 21, 22]
    assert data.load(source, "eval").size == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("test", "no further split 'test'"),
        ("vla", "did you mean 'val'"),
        ("1.5", "a fraction, at least 0"),
        ("nan", "a fraction, at least 0"),
        ("", "it is empty"),
        ("none", "has no validation split"),
        ("0", "has no validation split"),
    ],
)
def test_settings_that_name_no_split_are_refused(three, setting, message):
    with pytest.raises(ValueError, match=message):
        data.load(three, "validation", validation=setting)


def test_data_without_a_validation_split(one):
    with pytest.raises(ValueError, match=r"data.validation=0.1 takes a tenth"):
        data.load(one, "validation")
    with pytest.raises(ValueError, match="no split beside those"):
        data.load(one, "validation", validation="val")
    # Data of the form of a run's, without its validation split.
    assert data.load(one, "eval", validation="val").size == 5
    with pytest.raises(ValueError, match="leaves none to train on"):
        data.load(one, "train", validation="0.999")
