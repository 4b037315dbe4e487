"""Short-time Fourier transforms and mel filters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["mel_filters", "stft"]


def stft(x: jax.Array, size: int, hop: int) -> jax.Array:
    """Spectra of windows that lie inside of signals `[..., T]`: complex `[..., N, size // 2 + 1]`.

    The windows start at 0, hop, 2 hop, ...; each is multiplied by a periodic Hann window and by
    2 / Σ w, so that a sine of amplitude 1 has a magnitude of 1 whatever the size.

    Args:
      x: signals.
      size: samples of a window, even.
      hop: samples between the starts of windows, of which the size is a multiple.

    Raises:
      ValueError: the signals are shorter than a window, or the size is no multiple of the hop.
    """
    length = x.shape[-1]
    if length < size:
        raise ValueError(f"a window of {size} samples does not fit into signals of {length}")
    if size % hop:
        raise ValueError(f"a window of {size} samples is no multiple of the hop {hop}")
    # Slices of blocks of one hop, whose gradient is a sum of slices rather than a scatter.
    parts, count = size // hop, 1 + (length - size) // hop
    blocks = x[..., : (count + parts - 1) * hop].reshape(*x.shape[:-1], -1, hop)
    frames = jnp.concatenate([blocks[..., i : i + count, :] for i in range(parts)], axis=-1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    scaled = jnp.asarray(2.0 * window / window.sum(), x.dtype)
    return jnp.fft.rfft(frames * scaled.reshape((1,) * x.ndim + (-1,)))


@functools.lru_cache(maxsize=32)
def mel_filters(bands: int, size: int, rate: float) -> np.ndarray:
    """Triangular filters `[size // 2 + 1, bands]` that overlap by half, equally spaced in mel.

    From 0 Hz to half the rate, mel(f) = 2595 log10(1 + f / 700); each has a peak of 1.

    Args:
      bands: number of filters.
      size: of the window of the transform.
      rate: samples per second.
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)  # Hz
    f = np.fft.rfftfreq(size, 1 / rate)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (f - low) / (centre - low), (high - f) / (high - centre)
    filters: np.ndarray = np.maximum(0.0, np.minimum(rising, falling))
    return filters
