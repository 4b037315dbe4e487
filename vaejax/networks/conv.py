"""The convolutions of disentanglement_lib (1811.12359, table 1), for images of any size."""

from collections.abc import Sequence

import jax
from flax import linen

from vaejax.networks.layers import (
    Conv,
    Norm,
    activation,
    compute_dtype,
    concat_condition,
    crop,
    downsampled_sizes,
)
from vaejax.networks.network import Network, from_linen

__all__ = ["conv"]


class ConvEncoder(linen.Module):
    """Strided convolutions, then dense layers: `[B, H, W, C] -> [B, features]`."""

    features: int
    channels: Sequence[int]
    kernels: Sequence[int]
    hidden: int
    activation: str
    groups: int
    dtype: str
    implementation: str | None

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        x = concat_condition(x, condition)
        for channels, kernel in zip(self.channels, self.kernels, strict=True):
            x = Conv(channels, kernel, stride=2, dtype=dtype, implementation=self.implementation)(x)
            x = act(Norm(self.groups)(x))
        x = x.reshape(x.shape[0], -1)
        x = act(linen.Dense(self.hidden, dtype=dtype)(x))
        return linen.Dense(self.features, dtype=dtype)(x)


class ConvDecoder(linen.Module):
    """Dense layers, then transposed convolutions: `[B, D] -> [B, H, W, out_channels]`."""

    size: tuple[int, int]  # (H, W)
    out_channels: int
    channels: Sequence[int]
    hidden: int
    activation: str
    groups: int
    dtype: str
    implementation: str | None

    @linen.compact
    def __call__(self, z: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        times = len(self.channels)
        heights, widths = (downsampled_sizes(side, times) for side in self.size)
        z = concat_condition(z.astype(dtype), condition)
        z = act(linen.Dense(self.hidden, dtype=dtype)(z))
        x = act(linen.Dense(heights[-1] * widths[-1] * self.channels[0], dtype=dtype)(z))
        x = x.reshape(-1, heights[-1], widths[-1], self.channels[0])
        for i, channels in enumerate([*self.channels[1:], self.out_channels], start=1):
            x = Conv(
                channels,
                4,
                stride=2,
                transpose=True,
                dtype=dtype,
                implementation=self.implementation,
            )(x)
            x = crop(x, heights[-1 - i], widths[-1 - i])
            if i < times:
                x = act(Norm(self.groups)(x))
        return x


def conv(
    shape: Sequence[int],
    features: int,
    out_channels: int,
    *,
    channels: Sequence[int] = (32, 32, 64, 64),
    kernels: Sequence[int] = (4, 4, 2, 2),
    hidden: int = 256,
    activation: str = "relu",
    groups: int = 0,
    dtype: str = "float32",
    implementation: str | None = None,
) -> tuple[Network, Network]:
    """The encoder of disentanglement_lib into `[B, features]`, and its decoder.

    Args:
      shape: of one image, (H, W, C).
      features: number of outputs of the encoder.
      out_channels: channels of the decoder's output.
      channels: of the encoder's layers, each of stride 2; the decoder has them in reverse order.
      kernels: kernel sizes of the encoder's layers; the decoder's are 4×4.
      hidden: width of the dense layer on either side of the latent.
      activation: between layers.
      groups: of group norm; 0 for none.
      dtype: of the computation.
      implementation: of the convolutions, one of `conv2d.IMPLEMENTATIONS`; None chooses by backend.
    """
    common = (hidden, activation, groups, dtype, implementation)
    encoder = ConvEncoder(features, tuple(channels), tuple(kernels), *common)
    decoder = ConvDecoder((shape[0], shape[1]), out_channels, tuple(channels)[::-1], *common)
    last_layer = f"Conv_{len(channels) - 1}/kernel"
    return from_linen(encoder), from_linen(decoder, last_layer=last_layer)
