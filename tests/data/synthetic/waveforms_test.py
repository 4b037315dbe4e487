"""Tests of the pitch, onset and decay of the generated audio clips."""

import numpy as np

from vaejax import data
from vaejax.data.synthetic.waveforms import NOISE, RATE, waveforms


def test_the_source_is_deterministic():
    train, held_out = (data.load("synthetic:waveforms", split) for split in ("train", "eval"))
    assert (train.size, held_out.size) == (8000, 1000)
    rows = held_out.take(np.arange(50))["signal"]
    assert rows.shape == (50, 512, 1)
    assert not np.array_equal(rows, train.take(np.arange(50))["signal"])
    again = data.load("synthetic:waveforms", "eval").take(np.arange(50))["signal"]
    np.testing.assert_array_equal(rows, again)


def autocorrelation_pitch(x):
    """The pitch in Hz [N] of clips [N, T]: the period with the largest autocorrelation.

    The power spectra [F, N] are transformed back at the lag of each candidate, in fractions of a
    sample.
    """
    power = np.abs(np.fft.rfft(x, 4096)).T ** 2
    frequencies = np.fft.rfftfreq(4096, 1 / RATE)
    candidates = np.geomspace(95, 850, 2000)
    correlation = np.cos(2 * np.pi * frequencies[None] / candidates[:, None]) @ power
    # Of a period and its double, the factor prefers the shorter.
    return candidates[np.argmax(correlation * candidates[:, None] ** 0.05, axis=0)]


def test_clips_have_the_returned_pitch():
    clips, pitch = waveforms(200, seed=3)
    assert clips.dtype == np.float32
    assert 0.3 < np.abs(clips).max() <= 1
    assert abs(clips.mean()) < 1e-2
    octaves = np.abs(np.log2(autocorrelation_pitch(clips[..., 0]) / pitch))
    # The estimate of a clip with a weak first harmonic may be an octave off.
    assert np.median(octaves) < 0.02
    assert (octaves < 0.1).mean() > 0.85


def test_clips_are_noise_before_the_onset_and_decay_after_it():
    clips, _ = waveforms(500, seed=4)
    power = np.square(clips[..., 0])
    first = power[:, :2].mean()  # before the onset of almost all clips
    np.testing.assert_allclose(first, NOISE**2, rtol=0.2)
    assert power[:, 128:256].mean() > 2 * power[:, 384:].mean() > 4 * first
