"""Discriminators of sound: of spectrograms at several resolutions, and of the waveform."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.layers import Conv, activation, compute_dtype
from vaejax.networks.network import Network, from_linen
from vaejax.networks.ops.stft import stft

__all__ = ["stft_discriminator", "waveform_discriminator"]

_Output = tuple[jax.Array, tuple[jax.Array, ...]]


class Stack(linen.Module):
    """Strided convolutions of maps or signals: `x -> (logits, the features of each layer)`."""

    channels: int
    layers: int
    kernel: int
    stride: int
    spectral_norm: bool
    activation: str
    dtype: str

    @linen.compact
    def __call__(self, x: jax.Array) -> _Output:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        x, maps = x.astype(dtype), []
        for i in range(self.layers):
            channels = self.channels * min(2**i, 8)
            conv = Conv(
                channels, self.kernel, stride=self.stride, dtype=dtype,
                spectral_norm=self.spectral_norm,
            )  # fmt: skip
            x = act(conv(x))
            maps.append(x)
        logits = Conv(1, 3, dtype=dtype, spectral_norm=self.spectral_norm)(x)
        return logits[..., 0].astype(jnp.float32), tuple(maps)


class STFTDiscriminator(linen.Module):
    """A `Stack` for each resolution, of the real and imaginary parts of the spectrogram."""

    sizes: Sequence[int]
    channels: int
    layers: int
    spectral_norm: bool
    activation: str
    dtype: str

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> tuple[tuple, tuple]:
        del condition
        outputs = []
        for size in self.sizes:
            spectrum = stft(jnp.moveaxis(x, -1, 1), size, size // 4)  # [B, C, N, F]
            parts = jnp.concatenate([spectrum.real, spectrum.imag], axis=1)
            stack = Stack(
                self.channels, self.layers, 3, 2, self.spectral_norm, self.activation, self.dtype
            )
            # Amplitudes are small: the parts are scaled to the order of one.
            outputs.append(stack(8.0 * jnp.moveaxis(parts, 1, -1)))
        logits, maps = zip(*outputs, strict=True)
        return tuple(logits), tuple(m for of_size in maps for m in of_size)


class WaveformDiscriminator(linen.Module):
    """A `Stack` for each period, of every p-th sample; one for each scale, of means of samples."""

    periods: Sequence[int]
    scales: Sequence[int]
    channels: int
    layers: int
    spectral_norm: bool
    activation: str
    dtype: str

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> tuple[tuple, tuple]:
        del condition
        outputs = []
        options = self.spectral_norm, self.activation, self.dtype
        for period in self.periods:
            rows = _in_periods(x, period)  # [B · p, T / p, C]
            logits, maps = Stack(self.channels, self.layers, 5, 3, *options)(rows)
            back = lambda a, p=period: a.reshape(-1, p, *a.shape[1:])  # noqa: E731
            outputs.append((back(logits), tuple(map(back, maps))))
        for scale in self.scales:
            means = x[:, : x.shape[1] // scale * scale]
            means = means.reshape(x.shape[0], -1, scale, x.shape[2]).mean(axis=2)
            outputs.append(Stack(self.channels, self.layers, 9, 4, *options)(means))
        views, maps = zip(*outputs, strict=True)
        return tuple(views), tuple(m for of_view in maps for m in of_view)


def _in_periods(x: jax.Array, period: int) -> jax.Array:
    """Every p-th sample of `[B, T, C]` from each of p starts: `[B · p, ⌈T / p⌉, C]`."""
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % period), (0, 0)))
    folded = x.reshape(x.shape[0], -1, period, x.shape[2])
    return jnp.moveaxis(folded, 2, 1).reshape(-1, folded.shape[1], x.shape[2])


def stft_discriminator(
    *,
    sizes: Sequence[int] = (512, 256, 128),
    channels: int = 16,
    layers: int = 3,
    spectral_norm: bool = False,
    activation: str = "leaky_relu",
    dtype: str = "float32",
) -> Network:
    """A discriminator of complex spectrograms at several resolutions, after EnCodec's (2210.13438).

    Signals `[B, T, C]` -> (logits `[B, n, f]` of each resolution, the features of all layers).

    Args:
      sizes: of the windows, in samples, with hops of a quarter.
      channels: of the first layer; doubled in each of the next, up to eight times as many.
      layers: number of convolutions 3 × 3 of stride 2, before the last.
      spectral_norm: whether each kernel is divided by its largest singular value.
      activation: between layers.
      dtype: of the computation.
    """
    return from_linen(
        STFTDiscriminator(tuple(sizes), channels, layers, spectral_norm, activation, dtype)
    )


def waveform_discriminator(
    *,
    periods: Sequence[int] = (2, 3, 5, 7, 11),
    scales: Sequence[int] = (1, 2, 4),
    channels: int = 16,
    layers: int = 3,
    spectral_norm: bool = False,
    activation: str = "leaky_relu",
    dtype: str = "float32",
) -> Network:
    """The discriminators of HiFi-GAN (2010.05646, section 2.3): of periods, and of scales.

    Signals `[B, T, C]` -> (logits `[B, p, t]` of each period and `[B, t]` of each scale, the
    features of all layers).

    Args:
      periods: p: every p-th sample is seen by one of them, through kernels of 5 and strides of 3.
      scales: s: means of s samples are seen by one of them, through kernels of 9 and strides of 4.
      channels: of the first layer; doubled in each of the next, up to eight times as many.
      layers: number of strided convolutions, before the last.
      spectral_norm: whether each kernel is divided by its largest singular value.
      activation: between layers.
      dtype: of the computation.

    Raises:
      ValueError: neither a period nor a scale is given.
    """
    if not [*periods, *scales]:
        raise ValueError("the discriminator of waveforms needs a period or a scale")
    return from_linen(
        WaveformDiscriminator(
            tuple(periods), tuple(scales), channels, layers, spectral_norm, activation, dtype
        )
    )
