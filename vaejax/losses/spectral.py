"""Distances of the spectra of reconstructed sound from those of the data."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Trace
from vaejax.distributions import WithMissing, in_base_units
from vaejax.losses.base import stateless
from vaejax.networks.ops.stft import mel_filters, stft

__all__ = ["mel_distance", "spectral", "stft_distance"]

_FLOOR = 1e-5  # of magnitudes in logarithms: -100 dB
_TINY = 1e-12


def _magnitude(x: jax.Array, size: int) -> jax.Array:
    """`[B, T, C] -> [B, C, N, F]`; the gradient at silence is zero."""
    spectrum = stft(jnp.moveaxis(x, -1, 1), size, size // 4)
    return jnp.sqrt(jnp.square(spectrum.real) + jnp.square(spectrum.imag) + _TINY)


def _rows(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)


def stft_distance(x: jax.Array, y: jax.Array, sizes: Sequence[int]) -> jax.Array:
    """The multi-resolution STFT loss of signals `[B, T, C]`: `[B]`.

    Parallel WaveGAN (1910.11480, eq. 4 to 6), averaged over resolutions: ‖|X| − |Y|‖_F / ‖|X|‖_F
    plus the mean of |log |X| − log |Y||, with hops of a quarter of a window.

    Args:
      x: the data.
      y: the reconstructions.
      sizes: of the windows, in samples.
    """
    terms = []
    for size in sizes:
        a, b = _magnitude(x, size), _magnitude(y, size)
        error, norm = (jnp.square(_rows(m)).sum(axis=1) for m in (a - b, a))
        logs = jnp.abs(jnp.log(jnp.maximum(a, _FLOOR)) - jnp.log(jnp.maximum(b, _FLOOR)))
        terms.append(jnp.sqrt((error + _TINY) / (norm + _TINY)) + _rows(logs).mean(axis=1))
    return jnp.stack(terms).mean(axis=0)


def mel_distance(
    x: jax.Array, y: jax.Array, sizes: Sequence[int], bands: int, rate: float
) -> jax.Array:
    """The mean difference of log mel spectra of signals `[B, T, C]`, over resolutions: `[B]`.

    The multi-scale mel loss of DAC (2306.06546, section 3.4): |log10 M(x) − log10 M(y)|, M the mel
    bands of magnitudes. A window of less than 16 samples for a band has fewer bands.

    Args:
      x: the data.
      y: the reconstructions.
      sizes: of the windows, in samples.
      bands: the largest number of mel bands.
      rate: samples per second.
    """
    terms = []
    for size in sizes:
        filters = jnp.asarray(mel_filters(max(4, min(bands, size // 16)), size, rate), x.dtype)
        a, b = (jnp.log10(jnp.maximum(_magnitude(s, size) @ filters, _FLOOR)) for s in (x, y))
        terms.append(_rows(jnp.abs(a - b)).mean(axis=1))
    return jnp.stack(terms).mean(axis=0)


def spectral(
    sizes: Sequence[int] = (512, 128, 32), *, bands: int = 32, rate: float = 16_000.0
) -> LossTransform:
    """`stft` and `mel` `[B]`: D times `stft_distance` and `mel_distance` of x and E[p(x | z)].

    D is the number of elements of an event, over which nll is a sum too.

    Args:
      sizes: of the windows, in samples.
      bands: of mel.
      rate: samples per second, which places the mel bands.

    Raises:
      ValueError: of events that are no signals, shorter than a window, or partly missing.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        if isinstance(trace.likelihood, WithMissing) or trace.x.ndim != 3:
            raise ValueError(
                "the spectral losses compare whole signals [B, T, C]: use sound without padding, "
                "or leave model.spectral out"
            )
        p, x, _ = in_base_units(trace.likelihood, trace.x)
        elements = math.prod(x.shape[1:])
        return {
            "stft": elements * stft_distance(x, p.mean, sizes),
            "mel": elements * mel_distance(x, p.mean, sizes, bands, rate),
        }

    return stateless(apply)
