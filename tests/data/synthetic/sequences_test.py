"""Source strings of sequences, their errors, and sequences read from files."""

import jax
import numpy as np
import pytest

from vaejax import data
from vaejax.data.load import SOURCES
from vaejax.data.preprocess import event_shape
from vaejax.data.synthetic.sequences import SEQUENCES


def decoded(source):
    return jax.device_get(jax.jit(source.decode)(source.take(np.arange(source.size))))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("moving_sprite", "unknown data source 'moving_sprite': did you mean 'moving_sprites'"),
        ("oscilator:noise=1", "did you mean 'oscillator"),
        ("moving_mnits", "did you mean 'moving_mnist'"),
        ("oscillator:nose=1", r"'oscillator' has no setting 'nose' \(known: .*did you mean 'noise"),
        ("oscillator:noise", "'noise' is not of the form NAME=VALUE; settings are length, period"),
        ("oscillator:noise=1,noise=2", "'noise=2' is set twice"),
        ("oscillator:length=2.5", "length must be int, found '2.5'"),
        ("oscillator:noise=low", "noise must be float, found 'low'"),
        ("oscillator:options=1", "has no setting 'options'"),
    ],
)
def test_invalid_sources_are_reported(source, message):
    with pytest.raises(ValueError, match=message):
        data.load(source)


def test_sources_list_all_sequences():
    assert set(SEQUENCES) <= set(SOURCES)


def test_settings_have_the_type_of_their_default():
    source = data.load("oscillator:length=12,noise=1e-2,", "eval")
    assert source.name == "oscillator:length=12,noise=1e-2,"
    assert source.arrays["signal"].shape == (1000, 12, 1)
    error = source.arrays["signal"][..., 0] - source.arrays["truth"][..., 0]
    np.testing.assert_allclose(error.var(), 1e-2, rtol=0.05)
    assert event_shape(source) == (12, 1)


def test_an_unknown_split_is_rejected():
    with pytest.raises(ValueError, match="unknown split 'test'"):
        data.load("oscillator", "test")


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 3)])
def test_frames_from_a_file_become_sequences(tmp_path, shape):
    frames = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    path = tmp_path / "frames.npz"
    np.savez(path, sequences=frames, labels=np.arange(20) % 4)
    train, held = (data.load(f"npz:{path}", split, holdout=0.25) for split in ("train", "eval"))
    assert (train.size, held.size) == (15, 5)
    assert event_shape(train) == (*shape[:3], shape[3] if len(shape) == 4 else 1)
    sequences = np.concatenate([decoded(train)["sequence"], decoded(held)["sequence"]])
    labels = np.concatenate([decoded(train)["label"], decoded(held)["label"]])
    order = np.argsort([f.sum() for f in sequences.astype(np.float64)])
    expected = frames.reshape(sequences.shape) / np.float32(255)
    expected_order = np.argsort([f.sum() for f in expected.astype(np.float64)])
    np.testing.assert_allclose(sequences[order], expected[expected_order], rtol=1e-6)
    np.testing.assert_array_equal(labels[order], expected_order % 4)
    halved = decoded(data.load(f"npz:{path}", image_size=3, holdout=0))["sequence"]
    assert halved.shape[1:4] == (5, 3, 3)


def test_signals_and_true_states_are_read_from_a_file(tmp_path):
    signal = np.random.default_rng(1).standard_normal((8, 30))
    states = np.random.default_rng(2).standard_normal((8, 30, 2))
    np.savez(tmp_path / "s.npz", signal=signal, states=states)
    batch = decoded(data.load(f"npz:{tmp_path / 's.npz'}", holdout=0))
    np.testing.assert_allclose(batch["signal"], signal[..., None], rtol=1e-6)
    np.testing.assert_allclose(batch["truth"], states, rtol=1e-6)
    assert batch["truth"].dtype == np.float32


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (np.zeros((4, 30)), r"'truth' must have the shape \[N, T, D\]"),
        (np.full((4, 30, 2), np.nan), "'truth' must hold finite numbers"),
    ],
)
def test_invalid_true_states_are_rejected(truth, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays({"signal": np.zeros((4, 30)), "truth": truth})
