"""The convolutions of disentanglement_lib (1811.12359, table 1), for images of any size."""

from collections.abc import Sequence

import jax
from flax import linen

from vaejax.networks.layers import Conv, Norm, activation, attach, compute_dtype, crop, halvings
from vaejax.networks.network import Network, from_linen


class ConvEncoder(linen.Module):
    """Strided convolutions, then dense layers: `[B, H, W, C] -> [B, width]`."""

    width: int
    channels: Sequence[int]
    kernels: Sequence[int]
    hidden: int
    activation: str
    groups: int
    dtype: str
    form: str | None

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        x = attach(x, condition)
        for channels, kernel in zip(self.channels, self.kernels, strict=True):
            x = Conv(channels, kernel, stride=2, dtype=dtype, form=self.form)(x)
            x = act(Norm(self.groups)(x))
        x = x.reshape(x.shape[0], -1)
        x = act(linen.Dense(self.hidden, dtype=dtype)(x))
        return linen.Dense(self.width, dtype=dtype)(x)


class ConvDecoder(linen.Module):
    """Dense layers, then transposed convolutions: `[B, D] -> [B, H, W, out]`."""

    height: int
    breadth: int
    out: int
    channels: Sequence[int]
    hidden: int
    activation: str
    groups: int
    dtype: str
    form: str | None

    @linen.compact
    def __call__(self, z: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        times = len(self.channels)
        heights, breadths = halvings(self.height, times), halvings(self.breadth, times)
        z = attach(z.astype(dtype), condition)
        z = act(linen.Dense(self.hidden, dtype=dtype)(z))
        x = act(linen.Dense(heights[-1] * breadths[-1] * self.channels[0], dtype=dtype)(z))
        x = x.reshape(-1, heights[-1], breadths[-1], self.channels[0])
        for i, channels in enumerate([*self.channels[1:], self.out], start=1):
            x = Conv(channels, 4, stride=2, transpose=True, dtype=dtype, form=self.form)(x)
            x = crop(x, heights[-1 - i], breadths[-1 - i])
            if i < times:
                x = act(Norm(self.groups)(x))
        return x


def conv(
    shape: Sequence[int],
    width: int,
    out: int,
    *,
    channels: Sequence[int] = (32, 32, 64, 64),
    kernels: Sequence[int] = (4, 4, 2, 2),
    hidden: int = 256,
    activation: str = "relu",
    groups: int = 0,
    dtype: str = "float32",
    form: str | None = None,
) -> tuple[Network, Network]:
    """The encoder of disentanglement_lib into `[B, width]`, and its decoder.

    Args:
      shape: of one image, (H, W, C).
      width: features that the encoder gives.
      out: channels that the decoder gives.
      channels: of the encoder's layers, each of stride 2; the decoder has them reversed.
      kernels: of the encoder's layers; the decoder's are 4×4.
      hidden: width of the dense layer on either side of the latent.
      activation: between layers.
      groups: of group norm; 0 for none.
      dtype: in which to compute.
      form: of the convolutions; None chooses by backend.
    """
    height, breadth, _ = shape
    encoder = ConvEncoder(
        width, tuple(channels), tuple(kernels), hidden, activation, groups, dtype, form
    )
    decoder = ConvDecoder(
        height, breadth, out, tuple(channels)[::-1], hidden, activation, groups, dtype, form
    )
    return from_linen(encoder), from_linen(decoder)
