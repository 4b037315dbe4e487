"""Sound files against those that SciPy wrote, and resampling against the whole file's."""

import jax
import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal

from vaejax import data

soundfile = pytest.importorskip("soundfile")

RATE = 800


def wave(samples, channels=1, seed=0, dtype=np.int16):
    random = np.random.RandomState(seed)
    values = 0.8 * np.sin(np.arange(samples)[:, None] * random.uniform(0.05, 0.4, channels))
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def save(path, values, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.wavfile.write(path, rate, values)


def signals(source):
    rows = source.take(np.arange(source.size))
    return np.asarray(jax.jit(source.decode)(rows)["signal"])


def test_windows_tile_every_file_in_the_order_of_paths(tmp_path):
    waves = [wave(n, seed=n) for n in (100, 95, 17)]
    for number, values in enumerate(waves):
        save(tmp_path / f"{number}.wav", values[:, 0])
    source = data.load(f"wav:{tmp_path}", length=40, holdout=0.0)
    last = np.concatenate([waves[2], np.zeros((23, 1), np.int16)])
    expected = [waves[0][:40], waves[0][40:80], waves[1][:40], waves[1][40:80], last]
    assert source.arrays["signal"].dtype == np.int16
    np.testing.assert_array_equal(source.arrays["signal"], np.stack(expected))
    np.testing.assert_allclose(signals(source), np.stack(expected) / 2**15, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64, np.uint8])
def test_values_of_every_form_of_samples(tmp_path, dtype):
    values = wave(50, channels=2, dtype=np.float64)
    stored = {
        "i": np.rint(values * 2.0 ** (8 * np.dtype(dtype).itemsize - 1)).astype(dtype),
        "u": np.rint(values * 128 + 128).astype(dtype),
        "f": values.astype(dtype),
    }[np.dtype(dtype).kind]
    save(tmp_path / "a.wav", stored)
    source = data.load(f"wav:{tmp_path}", holdout=0.0)
    tolerance = 1 / 128 if dtype == np.uint8 else 2**-15
    np.testing.assert_allclose(signals(source)[0], values, atol=tolerance)


@pytest.mark.parametrize("rate", [400, 1200, 441, 805])
def test_resampled_windows_are_those_of_the_whole_file(tmp_path, rate):
    values = wave(900, channels=2, dtype=np.float32)
    save(tmp_path / "a.wav", values)
    source = data.load(f"wav:{tmp_path}", sample_rate=rate, length=100, holdout=0.0)
    up, down = rate // np.gcd(rate, RATE), RATE // np.gcd(rate, RATE)
    whole = scipy.signal.resample_poly(values.astype(np.float64), up, down, axis=0)
    count = len(whole) // 100
    assert source.size == count
    expected = whole[: count * 100].reshape(count, 100, 2)
    np.testing.assert_allclose(signals(source), expected, atol=1e-6)


def test_channels_are_averaged(tmp_path):
    values = wave(60, channels=3)
    save(tmp_path / "a.wav", values)
    source = data.load(f"wav:{tmp_path}", channels=1, holdout=0.0)
    expected = values.astype(np.float64).mean(axis=1, keepdims=True) / 2**15
    np.testing.assert_allclose(signals(source)[0], expected, atol=1e-6)


def test_folders_are_splits_and_classes_and_streams_equal_arrays(tmp_path):
    for split in ("train", "test"):
        for number, name in enumerate(("dog", "cat")):
            save(tmp_path / split / name / "a.wav", wave(80, seed=number)[:, 0])
    for split in ("train", "eval"):
        resident = data.load(f"wav:{tmp_path}", split, length=40)
        assert resident.class_names == ("cat", "dog")
        np.testing.assert_array_equal(resident.arrays["label"], [0, 0, 1, 1])
        options = {"length": 40, "max_resident_bytes": 1, "workers": 0}
        streamed = data.load(f"wav:{tmp_path}", split, **options)
        assert streamed.arrays is None
        picks = np.array([3, 0, 2])
        for name, values in streamed.take(picks).items():
            np.testing.assert_array_equal(values, resident.arrays[name][picks])


def test_whole_files_are_held_out_and_of_one_file_its_windows(tmp_path):
    for number in range(4):
        save(tmp_path / "many" / f"{number}.wav", np.full(80, number, np.int16))
    train, held = (
        data.load(f"wav:{tmp_path}/many", split, length=10, holdout=0.25).arrays["signal"]
        for split in ("train", "eval")
    )
    assert (len(train), len(held)) == (24, 8)
    assert not set(np.unique(train)) & set(np.unique(held))
    save(tmp_path / "single" / "a.wav", wave(100)[:, 0])
    sizes = [
        data.load(f"wav:{tmp_path}/single", split, length=10, holdout=0.2).size
        for split in ("train", "eval")
    ]
    assert sizes == [8, 2]


def test_flac_files_are_read_too(tmp_path):
    values = wave(50)[:, 0]
    soundfile.write(tmp_path / "a.flac", values, RATE)
    source = data.load(f"wav:{tmp_path}", holdout=0.0)
    np.testing.assert_array_equal(source.arrays["signal"][0, :, 0], values)


REFUSED = {
    "lengths": ({}, [(50, RATE, 1), (60, RATE, 1)], "differ in length, from 50 to 60: set data.le"),
    "rates": (
        {"length": 5},
        [(50, RATE, 1), (50, 900, 1)],
        "from 800 to 900: set data.sample_r",
    ),
    "channels": ({}, [(50, RATE, 1), (50, RATE, 2)], "differ in channels, from 1 to 2"),
    "more channels": ({"channels": 3}, [(50, RATE, 1)], r"data\.channels=3: use 1 for their mean"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_files_leave_open_is_refused(tmp_path, case):
    options, files, message = REFUSED[case]
    for number, (samples, rate, channels) in enumerate(files):
        save(tmp_path / f"{number}.wav", wave(samples, channels), rate)
    with pytest.raises(ValueError, match=message):
        data.load(f"wav:{tmp_path}", **options)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="wav:FOLDER needs a folder"):
        data.load(f"wav:{tmp_path}/none")
    (tmp_path / "a.wav").write_bytes(b"RIFF, but not of sound")
    with pytest.raises(ValueError, match=r"cannot read the sound file .*a\.wav"):
        data.load(f"wav:{tmp_path}")
    save(tmp_path / "a.wav", np.array([0.0, np.nan, 1.0], np.float32))
    with pytest.raises(ValueError, match=r"a\.wav has samples that are not finite"):
        data.load(f"wav:{tmp_path}", holdout=0.0)


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    save(tmp_path / "a.wav", wave(10))
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(ImportError, match=r"pip install 'vaejax\[audio\]'"):
        data.load(f"wav:{tmp_path}")
