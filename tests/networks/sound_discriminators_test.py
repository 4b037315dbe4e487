"""Spectra and mel filters against SciPy and loops; the discriminators of sound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from tests.random_params import random_params
from vaejax.networks import stft_discriminator, waveform_discriminator
from vaejax.networks.ops.stft import mel_filters, stft


@pytest.mark.parametrize(("size", "hop"), [(64, 16), (32, 32)])
def test_the_transform_against_scipy(size, hop):
    x = np.random.RandomState(0).randn(2, 200)
    options = {"boundary": None, "padded": False, "detrend": False}
    want = signal.stft(x, window="hann", nperseg=size, noverlap=size - hop, **options)[2]
    with jax.enable_x64(True):
        got = np.asarray(jax.jit(lambda x: stft(x, size, hop))(jnp.asarray(x)))
    assert got.shape == (2, 1 + (200 - size) // hop, size // 2 + 1)
    np.testing.assert_allclose(got, 2 * want.swapaxes(1, 2), atol=1e-12)


def test_a_sine_has_its_amplitude_and_short_signals_are_refused():
    t = np.arange(256)
    x = jnp.asarray(0.7 * np.sin(2 * np.pi * t * 8 / 64), jnp.float32)
    np.testing.assert_allclose(np.abs(stft(x, 64, 16))[:, 8], 0.7, rtol=1e-5)
    with pytest.raises(ValueError, match="window of 512 samples does not fit"):
        stft(x, 512, 128)


def test_mel_filters_are_triangles_in_hertz():
    filters = mel_filters(6, 64, 8000.0)
    mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    edges = np.interp(np.linspace(0, mel(4000), 8), mel(np.arange(4001)), np.arange(4001))
    for b in range(6):
        for i in range(33):
            f = i * 8000 / 64
            low, centre, high = edges[b : b + 3]
            want = (f - low) / (centre - low) if f <= centre else (high - f) / (high - centre)
            assert abs(filters[i, b] - max(0, want)) < 1e-3
    inside = filters.sum(axis=1)[
        (np.arange(33) * 125 > edges[1]) & (np.arange(33) * 125 < edges[-2])
    ]
    np.testing.assert_allclose(inside, 1.0)


def test_logits_and_features_of_every_resolution_period_and_scale():
    x = jnp.asarray(np.random.RandomState(0).randn(2, 100, 1), jnp.float32)
    network = waveform_discriminator(periods=(2, 3), scales=(1, 4), channels=2, layers=2)
    params = random_params(network.init, jax.random.key(0), x)
    logits, features = jax.jit(network.apply)(params, x)
    assert [d.shape for d in logits] == [(2, 2, 6), (2, 3, 4), (2, 7), (2, 2)]
    assert len(features) == 8
    # A period of 2 looks at every second sample alone: of either start by itself.
    only_even = x.at[:, 1::2].add(1.0)
    other = jax.jit(network.apply)(params, only_even)[0][0]
    np.testing.assert_array_equal(other[:, 0], logits[0][:, 0])
    assert np.abs(other[:, 1] - logits[0][:, 1]).max() > 1e-3
    network = stft_discriminator(sizes=(32, 16), channels=2, layers=1)
    shapes = jax.eval_shape(lambda key: network.apply(network.init(key, x), x), jax.random.key(0))
    assert [d.shape for d in shapes[0]] == [(2, 5, 9), (2, 11, 5)]
    with pytest.raises(ValueError, match="needs a period or a scale"):
        waveform_discriminator(periods=(), scales=())
