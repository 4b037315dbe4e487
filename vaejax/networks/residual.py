"""The residual encoder and decoder of VQ-VAE (1711.00937, section 4.1), for images of any size."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike

from vaejax.networks.layers import (
    Conv,
    Norm,
    activation,
    check_map,
    compute_dtype,
    concat_condition,
    crop,
    downsampled_sizes,
    halve_mask,
    zero_missing,
)
from vaejax.networks.network import Network, from_linen

__all__ = ["ResidualDecoder", "ResidualEncoder", "last_convolution", "mask_of_features", "residual"]


class ResidualStack(linen.Module):
    """Residual blocks (act, 3×3 to `hidden` channels, act, 1×1 back, added), then an act."""

    blocks: int
    hidden: int
    activation: str
    groups: int
    dtype: DTypeLike = jnp.float32
    implementation: str | None = None

    @linen.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        act = activation(self.activation)
        for _ in range(self.blocks):
            h = zero_missing(act(Norm(self.groups)(x, mask)), mask)
            h = Conv(self.hidden, 3, dtype=self.dtype, implementation=self.implementation)(h)
            h = act(Norm(self.groups)(h, mask))
            h = Conv(x.shape[-1], 1, dtype=self.dtype, implementation=self.implementation)(h)
            x = x + h
        return zero_missing(act(x), mask)


def _strided_channels(hidden: int, times: int) -> list[int]:
    """Channels after each strided layer: `hidden` after the last, half of it after the others."""
    return [hidden // 2] * (times - 1) + [hidden] * min(times, 1)


def halved_masks(mask: jax.Array | None, times: int) -> list[jax.Array | None]:
    """The mask of an event, and those after each of `times` strides of 2; None without one."""
    masks = [mask]
    for _ in range(times):
        mask = None if mask is None else halve_mask(mask)
        masks.append(mask)
    return masks


def mask_of_features(mask: jax.Array, times: int) -> jax.Array:
    """The mask of an event after `times` strides of 2."""
    for _ in range(times):
        mask = halve_mask(mask)
    return mask


def last_convolution(times: int) -> str:
    """The path of the weights of the last layer of a decoder of `times` strides of 2."""
    return f"Conv_{max(times, 1)}/kernel"  # after the first one, of stride 1


class ResidualEncoder(linen.Module):
    """Strided convolutions and residual blocks: `[B, H, W, C] -> [B, h, w, features]`.

    Signals are encoded likewise: `[B, T, C] -> [B, t, features]`. With a mask `[B, H, W]` or
    `[B, T]`, activations are zero at missing positions after every layer: a padded signal has the
    features of the one without padding.
    """

    features: int
    hidden: int
    downsamplings: int
    blocks: int
    block_hidden: int
    activation: str
    groups: int
    dtype: str
    implementation: str | None

    @linen.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        masks = halved_masks(mask, self.downsamplings)
        x = zero_missing(concat_condition(x, condition), mask)
        for i, channels in enumerate(_strided_channels(self.hidden, self.downsamplings)):
            x = act(Conv(channels, 4, stride=2, dtype=dtype, implementation=self.implementation)(x))
            x = zero_missing(x, masks[i + 1])
        x = Conv(self.hidden, 3, dtype=dtype, implementation=self.implementation)(x)
        x = ResidualStack(
            self.blocks, self.block_hidden, self.activation, self.groups, dtype, self.implementation
        )(zero_missing(x, masks[-1]), masks[-1])
        x = Conv(self.features, 1, dtype=dtype, implementation=self.implementation)(x)
        return zero_missing(x, masks[-1])


class ResidualDecoder(linen.Module):
    """Residual blocks and transposed convolutions: `[B, h, w, D] -> [B, H, W, out_channels]`.

    `sizes` is (H, W); with (T,) the decoder is one of signals, `[B, t, D] -> [B, T, out_channels]`.
    The mask is that of the event, `[B, H, W]` or `[B, T]`, see `ResidualEncoder`.
    """

    sizes: Sequence[int]
    out_channels: int
    hidden: int
    downsamplings: int
    blocks: int
    block_hidden: int
    activation: str
    groups: int
    dtype: str
    implementation: str | None

    @linen.compact
    def __call__(
        self, z: jax.Array, condition: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        act, dtype = activation(self.activation), compute_dtype(self.dtype)
        times = self.downsamplings
        masks = halved_masks(mask, times)
        sizes = list(zip(*(downsampled_sizes(size, times) for size in self.sizes), strict=True))
        check_map(z, *sizes[-1])
        x = Conv(self.hidden, 3, dtype=dtype, implementation=self.implementation)(
            zero_missing(concat_condition(z, condition), masks[-1])
        )
        x = ResidualStack(
            self.blocks, self.block_hidden, self.activation, self.groups, dtype, self.implementation
        )(zero_missing(x, masks[-1]), masks[-1])
        if not times:
            return Conv(self.out_channels, 3, dtype=dtype, implementation=self.implementation)(x)
        outputs = [self.hidden // 2] * (times - 1) + [self.out_channels]
        for i, channels in enumerate(outputs, start=1):
            x = Conv(
                channels,
                4,
                stride=2,
                transpose=True,
                dtype=dtype,
                implementation=self.implementation,
            )(x)
            x = crop(x, *sizes[-1 - i])
            if i < times:
                x = zero_missing(act(x), masks[-1 - i])
        return x


def residual(
    shape: Sequence[int],
    features: int,
    out_channels: int,
    *,
    hidden: int = 128,
    downsamplings: int = 2,
    blocks: int = 2,
    block_hidden: int = 32,
    activation: str = "relu",
    groups: int = 0,
    dtype: str = "float32",
    implementation: str | None = None,
) -> tuple[Network, Network]:
    """An encoder into a feature map `[B, h, w, features]`, and its decoder.

    Args:
      shape: of one image, (H, W, C).
      features: channels of the feature map.
      out_channels: channels of the decoder's output.
      hidden: channels of the hidden layers.
      downsamplings: number of layers of stride 2; h is H halved as often, rounded up.
      blocks: number of residual blocks in the encoder, and in the decoder.
      block_hidden: channels inside a residual block.
      activation: between layers.
      groups: of group norm in the residual blocks; 0 for none.
      dtype: of the computation.
      implementation: of the convolutions, one of `conv2d.IMPLEMENTATIONS`; None chooses by backend.
    """
    common = (
        hidden, downsamplings, blocks, block_hidden, activation, groups, dtype, implementation
    )  # fmt: skip
    encoder = ResidualEncoder(features, *common)
    decoder = ResidualDecoder(shape[:2], out_channels, *common)
    return (
        from_linen(encoder, masks=True, feature_mask=lambda m: mask_of_features(m, downsamplings)),
        from_linen(decoder, masks=True, last_layer=last_convolution(downsamplings)),
    )
