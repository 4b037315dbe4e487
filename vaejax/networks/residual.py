"""The residual encoder and decoder of VQ-VAE (1711.00937, section 4.1), for images of any size."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.layers import Conv, Norm, activation, attach, compute_dtype, crop, halvings
from vaejax.networks.network import Network, from_linen


class ResidualStack(linen.Module):
    """Blocks of act, 3×3 to `hidden` channels, act, 1×1 back, added; a last act."""

    blocks: int
    hidden: int
    activation: str
    groups: int
    dtype: Any = jnp.float32
    form: str | None = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        act = activation(self.activation)
        for _ in range(self.blocks):
            h = act(Norm(self.groups)(x))
            h = Conv(self.hidden, 3, dtype=self.dtype, form=self.form)(h)
            h = act(Norm(self.groups)(h))
            x = x + Conv(x.shape[-1], 1, dtype=self.dtype, form=self.form)(h)
        return act(x)


def _widths(hidden: int, times: int) -> list[int]:
    """Channels after each of the strided layers: half the width on the way, then all of it."""
    return [hidden // 2] * (times - 1) + [hidden] * min(times, 1)


class ResidualEncoder(linen.Module):
    """Strided convolutions and residual blocks: `[B, H, W, C] -> [B, h, w, width]`.

    Of signals likewise: `[B, T, C] -> [B, t, width]`.
    """

    width: int
    hidden: int
    downsamplings: int
    blocks: int
    block_hidden: int
    activation: str
    groups: int
    dtype: str
    form: str | None

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        x = attach(x, condition)
        for channels in _widths(self.hidden, self.downsamplings):
            x = act(Conv(channels, 4, stride=2, dtype=dtype, form=self.form)(x))
        x = Conv(self.hidden, 3, dtype=dtype, form=self.form)(x)
        x = ResidualStack(
            self.blocks, self.block_hidden, self.activation, self.groups, dtype, self.form
        )(x)
        return Conv(self.width, 1, dtype=dtype, form=self.form)(x)


class ResidualDecoder(linen.Module):
    """Residual blocks and transposed convolutions: `[B, h, w, D] -> [B, H, W, out]`.

    `sizes` is (H, W); with (T,) it is of signals, `[B, t, D] -> [B, T, out]`.
    """

    sizes: Sequence[int]
    out: int
    hidden: int
    downsamplings: int
    blocks: int
    block_hidden: int
    activation: str
    groups: int
    dtype: str
    form: str | None

    @linen.compact
    def __call__(self, z: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        times = self.downsamplings
        sizes = list(zip(*(halvings(size, times) for size in self.sizes), strict=True))
        x = Conv(self.hidden, 3, dtype=dtype, form=self.form)(attach(z, condition))
        x = ResidualStack(
            self.blocks, self.block_hidden, self.activation, self.groups, dtype, self.form
        )(x)
        if not times:
            return Conv(self.out, 3, dtype=dtype, form=self.form)(x)
        for i, channels in enumerate([self.hidden // 2] * (times - 1) + [self.out], start=1):
            x = Conv(channels, 4, stride=2, transpose=True, dtype=dtype, form=self.form)(x)
            x = crop(x, *sizes[-1 - i])
            if i < times:
                x = act(x)
        return x


def residual(
    shape: Sequence[int],
    width: int,
    out: int,
    *,
    hidden: int = 128,
    downsamplings: int = 2,
    blocks: int = 2,
    block_hidden: int = 32,
    activation: str = "relu",
    groups: int = 0,
    dtype: str = "float32",
    form: str | None = None,
) -> tuple[Network, Network]:
    """An encoder into a map of features `[B, h, w, width]`, and its decoder.

    Args:
      shape: of one image, (H, W, C).
      width: channels of the feature map.
      out: channels that the decoder gives.
      hidden: channels inside.
      downsamplings: layers of stride 2; h is H halved as often, rounded up.
      blocks: residual blocks on either side.
      block_hidden: channels inside a residual block.
      activation: between layers.
      groups: of group norm in the residual blocks; 0 for none.
      dtype: in which to compute.
      form: of the convolutions; None chooses by backend.
    """
    height, breadth, _ = shape
    inner = (hidden, downsamplings, blocks, block_hidden, activation, groups, dtype, form)
    encoder = ResidualEncoder(width, *inner)
    decoder = ResidualDecoder((height, breadth), out, *inner)
    return from_linen(encoder), from_linen(decoder)
