"""Synthetic speech: its form, its pitches and formants, and independent splits."""

import numpy as np

from vaejax import data
from vaejax.data.synthetic.speech import LENGTH, RATE, speech


def test_clips_are_reproducible_and_within_their_range():
    clips = speech(8, seed=3)
    assert clips.shape == (8, LENGTH, 1)
    assert clips.dtype == np.float32
    np.testing.assert_array_equal(clips, speech(8, seed=3))
    assert np.abs(clips - speech(8, seed=4)).max() > 0.1
    peaks = np.abs(clips).max(axis=(1, 2))
    assert (peaks >= 0.4 - 1e-6).all()
    assert (peaks <= 0.95 + 1e-6).all()


def test_voices_have_harmonics_of_a_pitch_and_most_energy_at_low_formants():
    clips = speech(20, seed=0)[:, :, 0]
    frame = clips[:, 700:1212]  # in the first syllable
    spectrum = np.abs(np.fft.rfft(frame * np.hanning(512), axis=1)) ** 2
    f = np.fft.rfftfreq(512, 1 / RATE)
    low = spectrum[:, f < 1200].sum(axis=1) / spectrum.sum(axis=1)
    assert np.median(low) > 0.7
    autocorrelation = np.fft.irfft(np.abs(np.fft.rfft(frame, 1024, axis=1)) ** 2, axis=1)
    lags = slice(RATE // 300, RATE // 70)
    voiced = autocorrelation[:, lags].max(axis=1) / autocorrelation[:, 0]
    assert np.median(voiced) > 0.6


def test_the_source_names_its_sample_rate():
    source = data.load("synthetic:speech", "eval")
    assert (source.size, source.sample_rate) == (100, RATE)
    assert data.load("synthetic:waveforms", "eval").sample_rate == 8000
