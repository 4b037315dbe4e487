"""The autoencoder of latent diffusion (2112.10752, appendix E.1; VQGAN, 2012.09841, table 7)."""

from collections.abc import Sequence

import jax
from flax import linen

from vaejax.networks.latent_diffusion_blocks import (
    Attention,
    Downsample,
    GroupNorm,
    ResidualBlock,
    Upsample,
)
from vaejax.networks.layers import Conv, activation, compute_dtype, concat_condition
from vaejax.networks.network import Network, from_linen

__all__ = ["LatentDiffusionDecoder", "LatentDiffusionEncoder", "latent_diffusion"]


def _check_size(size: Sequence[int], levels: int) -> None:
    """Raises ValueError unless an image can be halved between the levels without rounding."""
    factor = 2 ** (levels - 1)
    if any(side % factor for side in size):
        raise ValueError(
            f"the network 'latent_diffusion' with {levels} levels halves images {levels - 1} "
            f"times: height and width must be multiples of {factor}, found {size[0]}×{size[1]}; "
            "crop or resize them, or set fewer `channels`"
        )


class _Blocks(linen.Module):
    """What the encoder and the decoder share: the options, and the blocks made with them.

    Attributes:
      channels: of the levels, from the full resolution to the lowest.
      blocks: residual blocks of a level of the encoder; the decoder has one more.
      groups: at most so many, of group norm.
      attention: whether there is attention between the two blocks of the lowest resolution.
      attention_levels: levels with attention after each of their blocks, 0 the full resolution.
      activation, remat, dtype, implementation: see `latent_diffusion`.
    """

    channels: Sequence[int]
    blocks: int
    groups: int
    attention: bool
    attention_levels: Sequence[int]
    activation: str
    remat: bool
    dtype: str
    implementation: str | None

    def conv(self, features: int, name: str, size: int = 3, dtype: str = "") -> Conv:
        of = compute_dtype(dtype or self.dtype)
        return Conv(features, size, dtype=of, implementation=self.implementation, name=name)

    def residual(self, x: jax.Array, channels: int, name: str) -> jax.Array:
        """A residual block, whose activations are computed again in the backward pass if asked."""
        block = linen.remat(ResidualBlock) if self.remat else ResidualBlock
        dtype = compute_dtype(self.dtype)
        options = (channels, self.groups, self.activation, dtype, self.implementation)
        return block(*options, name=name)(x)

    def attend(self, x: jax.Array, name: str) -> jax.Array:
        block = linen.remat(Attention) if self.remat else Attention
        return block(self.groups, compute_dtype(self.dtype), name=name)(x)

    def level(self, x: jax.Array, level: int, blocks: int, name: str) -> jax.Array:
        """The residual blocks of a level, each followed by attention if the level has it."""
        for i in range(blocks):
            x = self.residual(x, self.channels[level], f"{name}_{level}_block_{i}")
            if level in self.attention_levels:
                x = self.attend(x, f"{name}_{level}_attention_{i}")
        return x

    def lowest(self, x: jax.Array) -> jax.Array:
        """Two residual blocks of the lowest resolution, with attention between them."""
        x = self.residual(x, self.channels[-1], "mid_block_0")
        x = self.attend(x, "mid_attention") if self.attention else x
        return self.residual(x, self.channels[-1], "mid_block_1")

    def last(self, x: jax.Array, features: int) -> jax.Array:
        x = activation(self.activation)(GroupNorm(self.groups, name="norm_out")(x))
        return self.conv(features, "conv_out", dtype="float32")(x)


class LatentDiffusionEncoder(_Blocks):
    """Images `[B, H, W, C]` with values in [0, 1] -> features `[B, h, w, features]`.

    Attributes:
      features: channels of the output.
      latent_channels: before the last 1×1 convolution; 0 for `features`.
      projection: whether a 1×1 convolution is the last layer.
    """

    features: int = 0
    latent_channels: int = 0
    projection: bool = True

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        _check_size(x.shape[1:3], len(self.channels))
        dtype = compute_dtype(self.dtype)
        x = concat_condition(2.0 * x - 1.0, condition)
        x = self.conv(self.channels[0], "conv_in")(x)
        for i in range(len(self.channels)):
            x = self.level(x, i, self.blocks, "down")
            if i < len(self.channels) - 1:
                x = Downsample(dtype, self.implementation, name=f"down_{i}_downsample")(x)
        x = self.last(self.lowest(x), self.latent_channels or self.features)
        return self.conv(self.features, "projection", 1, "float32")(x) if self.projection else x


class LatentDiffusionDecoder(_Blocks):
    """Latents `[B, h, w, D]` -> images or features of a likelihood, `[B, H, W, out_channels]`.

    Attributes:
      out_channels: channels of the output.
      latent_channels: after the first 1×1 convolution; 0 for those of z.
      projection: whether a 1×1 convolution is the first layer.
    """

    out_channels: int = 0
    latent_channels: int = 0
    projection: bool = True

    @linen.compact
    def __call__(self, z: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        dtype = compute_dtype(self.dtype)
        x = z
        if self.projection:
            x = self.conv(self.latent_channels or z.shape[-1], "projection", 1)(x)
        x = self.conv(self.channels[-1], "conv_in")(concat_condition(x, condition))
        x = self.lowest(x)
        for i in reversed(range(len(self.channels))):
            x = self.level(x, i, self.blocks + 1, "up")
            if i > 0:
                x = Upsample(dtype, self.implementation, name=f"up_{i}_upsample")(x)
        return 0.5 * self.last(x, self.out_channels).astype("float32") + 0.5


def latent_diffusion(
    shape: Sequence[int],
    features: int,
    out_channels: int,
    *,
    channels: Sequence[int] = (128, 256, 512, 512),
    blocks: int = 2,
    groups: int = 32,
    attention: bool = True,
    attention_levels: Sequence[int] = (),
    latent_channels: int = 0,
    quant_conv: bool = True,
    post_quant_conv: bool = True,
    activation: str = "silu",
    remat: bool = False,
    dtype: str = "float32",
    implementation: str | None = None,
) -> tuple[Network, Network]:
    """An encoder of images into a map `[B, h, w, features]`, and its decoder.

    It is the architecture of the first stage of latent diffusion models, whose checkpoints
    `vaejax.interop` reads and writes. The encoder maps values in [0, 1] to [−1, 1], the decoder
    maps them back. Image sizes are multiples of 2 ** (number of levels − 1); the networks apply to
    images of other sizes than those of training.

    Args:
      shape: of one image, (H, W, C).
      features: channels of the map.
      out_channels: channels of the decoder's output.
      channels: of the levels, from the full resolution to the lowest, each half of the one before:
        (128, 256, 512, 512) divides height and width by 8 (f8), three levels by 4 (f4).
      blocks: residual blocks of a level of the encoder; the decoder has one more.
      groups: at most so many, of group norm: the largest common divisor with the channels.
      attention: whether there is attention between the two blocks of the lowest resolution.
      attention_levels: levels with attention after each of their blocks, 0 the full resolution.
      latent_channels: between `quant_conv` or `post_quant_conv` and the other layers; 0 for as many
        as outside of them. (For codes of fewer dimensions than the map.)
      quant_conv: whether the encoder ends in a 1×1 convolution.
      post_quant_conv: whether the decoder begins with a 1×1 convolution.
      activation: between layers.
      remat: whether the activations of a block are computed again in the backward pass, which takes
        a third more time and stores only the inputs of blocks.
      dtype: of the computation; group norm is always in float32.
      implementation: of the convolutions, one of `conv2d.IMPLEMENTATIONS`; None chooses by backend.

    Raises:
      ValueError: the image size is no multiple of the downsampling.
    """
    common = (
        tuple(channels), blocks, groups, attention, tuple(attention_levels), activation, remat,
        dtype, implementation,
    )  # fmt: skip
    _check_size(shape[:2], len(common[0]))
    encoder = LatentDiffusionEncoder(*common, features, latent_channels, quant_conv)
    decoder = LatentDiffusionDecoder(*common, out_channels, latent_channels, post_quant_conv)
    return from_linen(encoder), from_linen(decoder, last_layer="conv_out/kernel")
