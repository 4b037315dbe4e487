"""A small autoencoder without norms, of the architecture of TAESD, for images."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.layers import activation, compute_dtype, concat_condition
from vaejax.networks.network import Network, from_linen
from vaejax.networks.ops import conv2d

__all__ = ["tiny_autoencoder"]


class _Conv(linen.Module):
    """A 3×3 convolution with one pixel of zeros on all sides, of stride 1 or 2."""

    features: int
    stride: int = 1
    bias: bool = True
    dtype: str = "float32"
    implementation: str | None = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dtype = compute_dtype(self.dtype)
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", linen.initializers.lecun_normal(), shape, jnp.float32)
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        # 'SAME' pads an even size only after its end at stride 2: turn the image around.
        turn = self.stride == 2
        if turn:
            x, kernel = x[:, ::-1, ::-1], kernel[::-1, ::-1]
        y = conv2d.conv(x, kernel, self.stride, implementation=self.implementation)
        y = y[:, ::-1, ::-1] if turn else y
        if self.bias:
            zeros = linen.initializers.zeros_init()
            bias = self.param("bias", zeros, (self.features,), jnp.float32)
            y = y + bias.astype(dtype)[None, None, None]
        return y


class _Layers(linen.Module):
    """What both halves share; the layers are numbered in the order of the computation."""

    channels: Sequence[int]
    blocks: Sequence[int]
    activation: str
    dtype: str
    implementation: str | None

    def conv(self, features: int, name: str, stride: int = 1, bias: bool = True) -> _Conv:
        return _Conv(features, stride, bias, self.dtype, self.implementation, name=name)

    def block(self, x: jax.Array, name: str) -> jax.Array:
        """Three convolutions, added to x, then ReLU whatever the activation."""
        act, h = activation(self.activation), x
        for i in range(3):
            h = self.conv(x.shape[-1], f"{name}_conv_{i}")(h)
            h = act(h) if i < 2 else h
        return jax.nn.relu(x + h)


class _Encoder(_Layers):
    """Images `[B, H, W, C]` with values in [0, 1] -> `[B, h, w, features]`."""

    features: int = 0

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        factor = 2 ** (len(self.blocks) - 1)
        if any(side % factor for side in x.shape[1:3]):
            raise ValueError(
                f"the network 'tiny_autoencoder' with {len(self.blocks)} levels needs images whose "
                f"sides are multiples of {factor}, found {x.shape[1]}×{x.shape[2]}; crop or resize "
                "them"
            )
        x = concat_condition(x, condition)
        for i, blocks in enumerate(self.blocks):
            first = i == 0
            x = self.conv(self.channels[i], f"level_{i}_conv", 1 if first else 2, first)(x)
            for j in range(blocks):
                x = self.block(x, f"level_{i}_block_{j}")
        return self.conv(self.features, "conv_out")(x)


class _Decoder(_Layers):
    """`[B, h, w, D]` -> `[B, H, W, out_channels]`; images have values in [0, 1]."""

    out_channels: int = 0

    @linen.compact
    def __call__(self, z: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        x = concat_condition(3.0 * jnp.tanh(z / 3.0), condition)
        x = activation(self.activation)(self.conv(self.channels[0], "conv_in")(x))
        for i, blocks in enumerate(self.blocks):
            for j in range(blocks):
                x = self.block(x, f"level_{i}_block_{j}")
            if i < len(self.blocks) - 1:
                x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
                x = self.conv(self.channels[i], f"level_{i}_conv", bias=False)(x)
        return self.conv(self.out_channels, "conv_out")(x)


def tiny_autoencoder(
    shape: Sequence[int],
    features: int,
    out_channels: int,
    *,
    channels: Sequence[int] = (64, 64, 64, 64),
    decoder_channels: Sequence[int] = (),
    encoder_blocks: Sequence[int] = (1, 3, 3, 3),
    decoder_blocks: Sequence[int] = (3, 3, 3, 1),
    activation: str = "relu",
    dtype: str = "float32",
    implementation: str | None = None,
) -> tuple[Network, Network]:
    """An encoder of images into a map `[B, h, w, features]`, and its decoder.

    Convolutions and residual blocks without norms and attention, so that parts of an image can be
    computed separately. The decoder bounds z softly to ±3. Its checkpoints (`AutoencoderTiny`) are
    read and written by `vaejax.interop`.

    Args:
      shape: of one image, (H, W, C).
      features: channels of the map.
      out_channels: channels of the decoder's output.
      channels: of the encoder's levels, each half of the size of the one before.
      decoder_channels: of the decoder's levels, from the lowest resolution; () for the encoder's.
      encoder_blocks: residual blocks of each level of the encoder.
      decoder_blocks: residual blocks of each level of the decoder, from the lowest resolution.
      activation: between layers; a residual block ends in ReLU.
      dtype: of the computation.
      implementation: of the convolutions, one of `conv2d.IMPLEMENTATIONS`; None chooses by backend.

    Raises:
      ValueError: the channels and blocks are of different numbers of levels; at init, if the image
        size is no multiple of the downsampling.
    """
    decoder = tuple(decoder_channels) or tuple(channels)[::-1]
    counts = {len(channels), len(decoder), len(encoder_blocks), len(decoder_blocks)}
    if len(counts) != 1 or len({*channels}) != 1 or len({*decoder}) != 1:
        raise ValueError(
            "the network 'tiny_autoencoder' needs as many `channels` and `decoder_channels` as "
            "`encoder_blocks` and `decoder_blocks`, and the same number of channels on all levels"
        )
    del shape
    common = (activation, dtype, implementation)
    encoder = _Encoder(tuple(channels), tuple(encoder_blocks), *common, features)
    last = _Decoder(decoder, tuple(decoder_blocks), *common, out_channels)
    return from_linen(encoder), from_linen(last, last_layer="conv_out/kernel")
