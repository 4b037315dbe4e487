"""A convolutional codec of sound: SEANet (2009.02095) as in SoundStream, EnCodec and DAC."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.registry import near_names
from vaejax.core.types import PyTree
from vaejax.networks.layers import ACTIVATIONS, compute_dtype, concat_condition
from vaejax.networks.network import Network
from vaejax.networks.signal_convolutions import Conv, Layer, TransposedConv
from vaejax.networks.signal_layers import Activation, Lstm, Residual, Stack

__all__ = ["CODEC_ACTIVATIONS", "NORMS", "PADDINGS", "Codec", "codec"]

CODEC_ACTIVATIONS = (*ACTIVATIONS, "snake")
PADDINGS = ("constant", "reflect")
NORMS = ("none", "time_group_norm")
_Chunk = tuple[jax.Array, PyTree]  # a chunk of the output, and the state


@dataclasses.dataclass(frozen=True)
class Codec:
    """The functions of the network; the attributes are the arguments of `codec`, and these.

    Attributes:
      features: channels of the encoder's output.
      out_channels: channels of the decoder's output.
      symmetric: see `TransposedConv`.
    """

    features: int
    out_channels: int
    filters: int = 32
    decoder_filters: int = 0
    ratios: Sequence[int] = (2, 4, 5, 8)
    kernel: int = 7
    last_kernels: Sequence[int] = (7, 7)
    blocks: int = 1
    block_kernel: int = 3
    dilation_growth: int = 2
    compress: int = 2
    shortcut: bool = True
    activation: str = "elu"
    lstm: int = 0
    causal: bool = False
    padding: str = "constant"
    norm: str = "none"
    tanh: bool = False
    symmetric: bool = False
    dtype: str = "float32"

    @property
    def hop(self) -> int:
        """Samples for each frame of the features."""
        return math.prod(self.ratios)

    @property
    def first_chunk(self) -> int:
        """The least number of samples that a signal can begin with, in chunks."""
        if self.padding == "constant":
            return self.hop
        samples = max(_reflected(self.encoder(1), 1), _reflected(self.decoder(1), self.hop))
        return -(-samples // self.hop) * self.hop

    def _conv(self, channels: int, out: int, taps: int, **options: int) -> Conv:
        common = {"causal": self.causal, "padding": self.padding, "norm": self.norm}
        return Conv(channels, out, taps, **options, **common, dtype=self.dtype)  # type: ignore[arg-type]

    def _act(self, channels: int) -> Activation:
        return Activation(self.activation, channels)

    def _residual_blocks(self, channels: int, prefix: str) -> list[tuple[str, Layer]]:
        """Blocks of two convolutions, whose dilations grow."""
        inner = max(1, channels // self.compress)
        layers: list[tuple[str, Layer]] = []
        for i in range(self.blocks):
            wide = self._conv(channels, inner, self.block_kernel, dilation=self.dilation_growth**i)
            block = Stack(
                (
                    ("act_0", self._act(channels)),
                    ("conv_0", wide),
                    ("act_1", self._act(inner)),
                    ("conv_1", self._conv(inner, channels, 1)),
                )
            )
            shortcut = self._conv(channels, channels, 1) if self.shortcut else None
            layers.append((f"{prefix}_block_{i}", Residual(block, shortcut)))
        return layers

    def encoder(self, channels: int) -> Stack:
        """The layers from signals `[B, T, channels]` to features `[B, ⌈T / hop⌉, features]`."""
        width = self.filters
        layers: list[tuple[str, Layer]] = [("conv_in", self._conv(channels, width, self.kernel))]
        for i, ratio in enumerate(self.ratios):
            layers += self._residual_blocks(width, f"down_{i}")
            layers.append((f"down_{i}_act", self._act(width)))
            down = self._conv(width, 2 * width, 2 * ratio, stride=ratio)
            layers.append((f"down_{i}_conv", down))
            width *= 2
        if self.lstm:
            layers.append(("lstm", Lstm(width, self.lstm)))
        layers.append(("act_out", self._act(width)))
        layers.append(("conv_out", self._conv(width, self.features, self.last_kernels[0])))
        return Stack(tuple(layers))

    def decoder(self, channels: int) -> Stack:
        """The layers from `[B, t, channels]` to signals `[B, hop · t, out_channels]`."""
        width = (self.decoder_filters or self.filters) * 2 ** len(self.ratios)
        layers: list[tuple[str, Layer]] = [("conv_in", self._conv(channels, width, self.kernel))]
        if self.lstm:
            layers.append(("lstm", Lstm(width, self.lstm)))
        for i, ratio in reversed(list(enumerate(self.ratios))):
            layers.append((f"up_{i}_act", self._act(width)))
            options = {"causal": self.causal, "symmetric": self.symmetric, "norm": self.norm}
            up = TransposedConv(width, width // 2, ratio, dtype=self.dtype, **options)  # type: ignore[arg-type]
            layers.append((f"up_{i}_conv", up))
            width //= 2
            layers += self._residual_blocks(width, f"up_{i}")
        layers.append(("act_out", self._act(width)))
        layers.append(("conv_out", self._conv(width, self.out_channels, self.last_kernels[1])))
        if self.tanh:
            layers.append(("tanh", Activation("tanh", self.out_channels)))
        return Stack(tuple(layers))

    def networks(self, length: int | None = None) -> tuple[Network, Network]:
        """Encoder and decoder of whole signals; the output has at most `length` samples."""

        def joined(x: jax.Array, c: tuple[jax.Array, ...]) -> jax.Array:
            return concat_condition(x, c[0] if c else None)

        def init_encoder(key: jax.Array, x: jax.Array, *c: jax.Array) -> PyTree:
            return self.encoder(joined(x, c).shape[-1]).init(key)

        def encode(params: PyTree, x: jax.Array, *c: jax.Array) -> jax.Array:
            x = joined(x, c)
            return self.encoder(x.shape[-1]).apply(params, x)[0].astype(jnp.float32)

        def init_decoder(key: jax.Array, z: jax.Array, *c: jax.Array) -> PyTree:
            return self.decoder(joined(z, c).shape[-1]).init(key)

        def decode(params: PyTree, z: jax.Array, *c: jax.Array) -> jax.Array:
            z = joined(z, c)
            y, _ = self.decoder(z.shape[-1]).apply(params, z)
            return y[:, :length].astype(jnp.float32)

        decoder = Network(init_decoder, decode, last_layer="conv_out/kernel")
        return Network(init_encoder, encode), decoder

    def encode_chunk(self, params: PyTree, x: jax.Array, state: PyTree = None) -> _Chunk:
        """The features of the next chunk of a signal; the chunks' features are those of the whole.

        Args:
          params: of the encoder.
          x: `[B, T, C]`; T is a multiple of `hop`, and at least `first_chunk` in the first chunk.
          state: from the chunk before; None begins a signal.

        Raises:
          ValueError: the network is not causal, or the length does not fit.
        """
        self._check_chunk(x.shape[1], self.hop, state)
        y, state = self.encoder(x.shape[-1]).apply(params, x, state)
        return y.astype(jnp.float32), state

    def decode_chunk(self, params: PyTree, z: jax.Array, state: PyTree = None) -> _Chunk:
        """The next `hop · t` samples, from the next t frames `[B, t, D]`; see `encode_chunk`."""
        self._check_chunk(z.shape[1] * self.hop, 1, state)
        y, state = self.decoder(z.shape[-1]).apply(params, z, state)
        return y.astype(jnp.float32), state

    def _check_chunk(self, length: int, multiple: int, state: PyTree) -> None:
        if not self.causal or self.norm != "none":
            raise ValueError(
                "only a causal codec without norms over time runs on one chunk after another: "
                "train one with causal=True and norm='none'"
            )
        least = self.first_chunk if state is None else multiple
        if length < least or length % multiple:
            raise ValueError(
                f"a chunk must have a multiple of {self.hop} samples, and the first of a signal at "
                f"least {self.first_chunk}; found {length}"
            )


def _reflected(stack: Stack, scale: int) -> int:
    """The least number of samples that every causal convolution can reflect at the beginning.

    Args:
      stack: layers.
      scale: samples of the signal for each sample of their input.
    """
    least = 1
    for name, layer in stack.layers:
        for _, part in layer.block.layers if isinstance(layer, Residual) else ((name, layer),):
            if isinstance(part, Conv):
                least = max(least, (part.context + 1) * scale)
                scale *= part.stride
            elif isinstance(part, TransposedConv):
                scale //= part.stride
    return least


def codec(
    shape: Sequence[int],
    features: int,
    out_channels: int,
    *,
    filters: int = 32,
    decoder_filters: int = 0,
    ratios: Sequence[int] = (2, 4, 5, 8),
    kernel: int = 7,
    last_kernels: Sequence[int] = (7, 7),
    blocks: int = 1,
    block_kernel: int = 3,
    dilation_growth: int = 2,
    compress: int = 2,
    shortcut: bool = True,
    activation: str = "elu",
    lstm: int = 0,
    causal: bool = False,
    padding: str = "constant",
    norm: str = "none",
    tanh: bool = False,
    dtype: str = "float32",
) -> tuple[Network, Network]:
    """An encoder of signals into features `[B, ⌈T / hop⌉, features]`, and its decoder.

    SEANet (2009.02095) as in SoundStream (2107.03312, section III) and EnCodec (2210.13438, section
    3.1): strided convolutions, each after residual blocks with dilated convolutions. DAC
    (2306.06546) is `activation='snake'`, `blocks=3`, `block_kernel=7`, `dilation_growth=3`,
    `compress=1`, `shortcut=False`, `tanh=True`. A causal codec also runs on chunks of a signal, see
    `codec.Codec.encode_chunk`.

    Args:
      shape: of one signal, (T, C). The networks apply to signals of other lengths too; the decoder
        returns at most T samples.
      features: channels of the encoder's output.
      out_channels: channels of the decoder's output.
      filters: channels of the encoder's first layer, doubled by each ratio.
      decoder_filters: channels of the decoder's last layer; 0 for `filters`.
      ratios: strides of the encoder's levels; the decoder has them in reverse order. Their product
        is the hop, the number of samples for each frame.
      kernel: taps of the first convolution of the encoder and of the decoder.
      last_kernels: taps of the last convolution of the encoder and of the decoder.
      blocks: residual blocks of a level.
      block_kernel: taps of the first convolution of a block.
      dilation_growth: block i of a level has the dilation dilation_growth ** i.
      compress: the inner channels of a block are those of its input divided by this.
      shortcut: whether the input of a block has a 1×1 convolution before it is added.
      activation: between layers; `'snake'` is x + sin²(αx) / α, with one α per channel.
      lstm: number of LSTM layers at the lowest rate, in the encoder and in the decoder.
      causal: whether features and output depend on no later samples than those of their frame.
      padding: at the ends of a signal, `'constant'` (zeros) or `'reflect'`.
      norm: after convolutions: `'none'`, or `'time_group_norm'` over time and channels.
        (Checkpoints with weight norm are read with the norm folded into the weights.)
      tanh: whether the decoder ends in tanh.
      dtype: of the computation; LSTMs are always in float32.

    Raises:
      ValueError: an unknown activation, padding, norm or dtype.
    """
    for option, value, choices in (
        ("activation", activation, CODEC_ACTIVATIONS),
        ("padding", padding, PADDINGS),
        ("norm", norm, NORMS),
    ):
        if value not in choices:
            raise ValueError(f"unknown {option} {near_names(value, choices)}")
    compute_dtype(dtype)
    network = Codec(
        features, out_channels, filters, decoder_filters, tuple(ratios), kernel,
        tuple(last_kernels), blocks, block_kernel, dilation_growth, compress, shortcut, activation,
        lstm, causal, padding, norm, tanh, dtype=dtype,
    )  # fmt: skip
    return network.networks(shape[0])
