"""Arrays of every kind of event, by the names of their fields and splits, and .npz files."""

import io
import os
import pathlib
import zipfile

import jax
import numpy as np
import pytest

from tests.data.readers.rows import decoded, images
from vaejax import data
from vaejax.data.preprocess import preparation


def test_sequences_vectors_and_factors():
    frames = images(shape=(3, 4, 4))
    factors = np.stack([np.arange(20) % 2, np.arange(20) % 5], -1)
    moving = data.from_arrays({"sequence": frames, "factors": factors}, holdout=0)
    batch = decoded(moving)
    assert batch["sequence"].shape == (20, 3, 4, 4, 1)
    np.testing.assert_array_equal(batch["factors"], factors)
    assert moving.factor_sizes == (2, 5)

    counts = np.arange(60).reshape(20, 3)
    genes = np.array(["a", "b", "c"])
    table = data.from_arrays({"counts": counts, "column_names": genes}, holdout=0)
    np.testing.assert_array_equal(decoded(table)["vector"], counts.astype(np.float32))
    assert table.column_names == ("a", "b", "c")


@pytest.mark.parametrize("name", ["signal", "signals", "waveform", "waveforms", "audio"])
def test_float_signals_are_not_rescaled(name):
    clips = np.random.RandomState(0).standard_normal((6, 9)) * 3
    batch = decoded(data.from_arrays({name: clips}, holdout=0))
    np.testing.assert_array_equal(batch["signal"], clips[..., None].astype(np.float32))
    stereo = np.stack([clips, -clips], axis=-1)
    batch = decoded(data.from_arrays({name: stereo}, holdout=0))
    np.testing.assert_array_equal(batch["signal"], stereo.astype(np.float32))


def test_16_bit_audio_is_stored_unchanged_and_scaled_to_minus_one_to_one():
    samples = np.array([[-32768, -1, 0, 1, 16384, 32767]] * 2, np.int16)
    source = data.from_arrays({"audio": samples}, holdout=0)
    assert source.arrays["signal"].dtype == np.int16
    expected = [-1, -(2.0**-15), 0, 2.0**-15, 0.5, 1 - 2.0**-15]
    np.testing.assert_array_equal(decoded(source)["signal"][1, :, 0], expected)


@pytest.mark.parametrize("shape", [(20, 5), (20, 2, 3)])
def test_tokens_are_integer_classes(shape):
    tokens = np.random.RandomState(0).randint(7, size=shape).astype(np.uint16)
    tokens[3] = 6
    source = data.from_arrays({"tokens": tokens}, holdout=0.5)
    assert source.num_tokens == 7
    assert source.token_names is None
    batch = decoded(source)
    assert batch["tokens"].dtype == np.int32
    assert batch["tokens"].shape == (10, *shape[1:])
    names = list("abcdefghij")
    source = data.from_arrays({"text": tokens, "token_names": names}, holdout=0)
    assert source.token_names == tuple(names)
    assert source.num_tokens == 10  # unused names count too
    np.testing.assert_array_equal(decoded(source)["tokens"], tokens)


@pytest.mark.parametrize("binarize", ["threshold", "dynamic"])
@pytest.mark.parametrize("name", ["signal", "tokens"])
def test_binarisation_changes_only_pixels(name, binarize):
    values = np.arange(12).reshape(2, 6)
    source = data.from_arrays({name: values if name == "tokens" else values / 4.0}, holdout=0)
    prepare = preparation(source, binarize)
    batch = prepare(source.take(np.arange(2)), jax.random.key(0))
    np.testing.assert_array_equal(batch[name], decoded(source)[name])


@pytest.mark.parametrize(
    ("keys", "split", "expected"),
    [
        (("x_train", "y_train", "x_test", "y_test"), "eval", 1),
        (("train_images", "train_labels", "test_images", "test_labels"), "train", 0),
        (("train_image", "train_label", "val_image", "val_label"), "eval", 1),
    ],
)
def test_keys_name_splits(keys, split, expected):
    parts = [images(7, (4, 4, 1), seed=0), images(5, (4, 4, 1), seed=1)]
    labels = [np.zeros(7, int), np.ones(5, int)]
    values = [value for pair in zip(parts, labels, strict=True) for value in pair]
    source = data.from_arrays(dict(zip(keys, values, strict=True)), split)
    np.testing.assert_array_equal(source.arrays["image"], parts[expected])
    np.testing.assert_array_equal(source.arrays["label"], labels[expected])
    assert source.num_classes == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": images()}, "unknown array 'pictures'.*accepted are image, images"),
        ({"image": images(), "images": images()}, "both name the field image"),
        ({"image": images(), "label": np.zeros(19, int)}, "'image': 20, 'label': 19"),
        ({"image": images()[0, :, :, 0]}, r"must have the shape \[N, H, W\].*found uint8 \(6, 5\)"),
        ({"image": images() / 100}, r"must lie in \[0, 1\], found \[0.0, 2.55\]"),
        ({"image": np.full((2, 4, 4), np.nan)}, "found .nan"),
        ({"image": images().astype(np.int64)}, "uint8, uint16, bool or float.*found int64"),
        ({"image": images(shape=(3, 8, 8))}, "channels last"),
        ({"image": images(), "label": np.zeros(20)}, "must hold integers, found float64"),
        ({"image": images(), "label": np.full(20, -1)}, "class numbers from 0"),
        ({"vector": np.full((3, 2), np.inf)}, "finite"),
        ({"label": np.zeros(3, int)}, "expected one of image, vector, sequence, signal, tokens"),
        (
            {"signal": np.full((3, 9), np.nan)},
            "finite numbers.*but channel 0 holds nan",
        ),
        ({"signal": np.zeros(9)}, r"must have the shape \[N, T\] or"),
        ({"text": np.zeros((3, 9))}, "must hold integers, found float64"),
        ({"tokens": np.full((3, 9), -1)}, "class numbers from 0"),
        (
            {"tokens": np.full((3, 9), 2), "token_names": ["a", "b"]},
            "2 names, but tokens go up to 2",
        ),
        ({"tokens": np.zeros((3, 9), int), "audio": np.zeros((3, 9))}, "expected one of"),
        ({"image": images(), "train_image": images()}, "must name a split"),
        ({"test_image": images()}, "must name a split, including train"),
        ({"train_image": images(), "test_image": images()[..., :1]}, "splits differ in types or"),
        (np.zeros(3), "rank 2 to 5"),
    ],
)
def test_invalid_arrays_are_rejected(arrays, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(arrays)


def test_npz_equals_its_arrays(tmp_path):
    arrays = {"images": images(), "labels": np.arange(20) % 3}
    np.savez_compressed(tmp_path / "some.npz", **arrays)
    for split in ("train", "eval"):
        source = data.load(f"npz:{tmp_path}/some.npz", split, holdout=0.25)
        direct = data.from_arrays(arrays, split, holdout=0.25)
        assert source.size == direct.size == {"train": 15, "eval": 5}[split]
        for field, value in direct.arrays.items():
            np.testing.assert_array_equal(source.arrays[field], value)
            np.testing.assert_array_equal(source.take(np.array([2, 0, 2]))[field], value[[2, 0, 2]])


def test_arrays_above_max_resident_bytes_are_gathered_on_demand():
    arrays = {"images": images()}
    resident = data.from_arrays(arrays, "eval", holdout=0.5)
    streamed = data.from_arrays(arrays, "eval", holdout=0.5, max_resident_bytes=10)
    assert streamed.arrays is None
    picks = np.array([4, 0, 9])
    np.testing.assert_array_equal(streamed.take(picks)["image"], resident.take(picks)["image"])


def test_invalid_npz_files_are_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        data.load(f"npz:{tmp_path}/missing.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(ValueError, match=r"text\.npz is not an \.npz"):
        data.load(f"npz:{tmp_path}/text.npz")
    np.savez(tmp_path / "damaged.npz", images=images())
    content = bytearray((tmp_path / "damaged.npz").read_bytes())
    content[400] ^= 1
    (tmp_path / "damaged.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*damaged\.npz"):
        data.load(f"npz:{tmp_path}/damaged.npz")


@pytest.mark.parametrize(
    ("path", "size", "shape"),
    [
        ("cifar10_4000/cifar10_4000.npz", 3600, (2, 32, 32, 3)),
        ("pbmc/pbmc4k_top2000.npz", 3844, (2, 2000)),
        ("dsprites/dsprites_downsampled.npz", 41472, (2, 64, 64, 1)),
    ],
)
def test_real_files(path, size, shape):
    file = pathlib.Path(os.environ.get("VAEJAX_TEST_DATA", "")) / path
    if not file.is_file():
        pytest.skip("VAEJAX_TEST_DATA names no folder with this file")
    source = data.load(f"npz:{file}")
    assert source.size == size
    batch = decoded(source, [0, -1])
    assert batch["vector" if len(shape) == 2 else "image"].shape == shape


def test_memory_is_bounded_before_anything_is_read(tmp_path):
    file = tmp_path / "zeros.npz"
    np.savez_compressed(file, vector=np.zeros((1000, 1000)))  # 8 MB in a file of 8 KB
    assert file.stat().st_size < 20_000
    with pytest.raises(ValueError, match=r"need 0\.00745 GiB .* data\.max_bytes=1000000"):
        data.load(f"npz:{file}", max_bytes=10**6)
    assert data.load(f"npz:{file}", max_bytes=10**7).size == 900


def test_a_header_that_claims_more_than_is_stored_allocates_nothing(tmp_path):
    member = io.BytesIO()
    np.save(member, np.zeros((4, 4), np.float32))
    content = member.getvalue().replace(b"(4, 4), }         ", b"(4, 4000000000), }")
    with zipfile.ZipFile(tmp_path / "claims.npz", "w") as file:
        file.writestr("vector.npy", content)
    with pytest.raises(ValueError, match="claims 64,000,000,000 bytes, but 192 are stored"):
        data.load(f"npz:{tmp_path / 'claims.npz'}")
