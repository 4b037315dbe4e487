"""The convolutional residual blocks of very deep hierarchical VAEs (VDVAE, NVAE)."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.core.registry import near_names
from vaejax.networks.ladder_types import LadderNetworks, StageNetworks
from vaejax.networks.layers import Conv, compute_dtype, crop, downsampled_sizes
from vaejax.networks.network import from_linen

__all__ = ["PRECISIONS", "conv_ladder"]

_Convolution = Callable[..., linen.Module]  # `Conv` with its options bound
PRECISIONS = ("default", "high", "highest")
_MIN_CHANNELS = 16  # of the strided layers between the image and the finest resolution


class _Bottleneck(linen.Module):
    """act, 1×1, act, 3×3, act, 3×3, act, 1×1 (VDVAE, 2011.10650, figure 3); no skip connection.

    `out_scale` scales the initialisation of the last convolution: 1/√N for N blocks preserves the
    variance of a sum of N of them.
    """

    conv: _Convolution
    bottleneck_channels: int
    out_channels: int
    out_scale: float = 1.0
    spatial: bool = True  # 3×3 if the map is larger than 2×2, else 1×1

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size, y = 3 if self.spatial else 1, x
        for kernel in (1, size, size):
            y = self.conv(self.bottleneck_channels, kernel)(jax.nn.gelu(y))
        y = self.conv(self.out_channels, 1, scale=self.out_scale)(jax.nn.gelu(y))
        return y.astype(x.dtype)


class _ConvBottomUp(linen.Module):
    """Residual blocks at each resolution, with average pooling: activations, coarsest first.

    From the image to the first resolution it uses strided layers, the mirror image of `_Output`:
    average pooling of a single convolution would keep only its nine taps of each position.
    """

    conv: _Convolution
    width: int
    bottleneck_channels: int
    blocks: Sequence[int]  # of each stage, the finest first
    num_downsamples: Sequence[int]  # before each stage, the finest first
    out_scale: float

    @linen.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        stem, *between_stages = self.num_downsamples
        if not stem:
            x = self.conv(self.width, 3)(x)
        for i in reversed(range(stem)):
            channels = max(self.width >> i, _MIN_CHANNELS) if i else self.width
            x = self.conv(channels, 4, stride=2)(x)
            x = jax.nn.gelu(x) if i else x
        activations: list[jax.Array] = []
        for blocks, poolings in zip(self.blocks, (0, *between_stages), strict=True):
            for _ in range(poolings):
                odd = [(0, 0), *[(0, side % 2) for side in x.shape[1:3]], (0, 0)]
                x = jnp.pad(x, odd, mode="edge")
                n, h, w, c = x.shape
                x = x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
            for _ in range(blocks):
                spatial = min(x.shape[1:3]) > 2
                x = x + _Bottleneck(
                    self.conv, self.bottleneck_channels, self.width, self.out_scale, spatial
                )(x)
            activations.insert(0, x)
        return tuple(activations)


class _Enter(linen.Module):
    """A learned map `[h, w, width]`, to which the coarser h is added by nearest upsampling."""

    size: tuple[int, int]  # (h, w)
    width: int

    @linen.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        shape = (*self.size, self.width)
        bias = self.param("bias", linen.initializers.zeros_init(), shape, jnp.float32)
        start = jnp.broadcast_to(bias[None], (h.shape[0], *shape))
        if h.ndim == 2:  # the top stage
            return start
        for axis, side in enumerate(self.size, start=1):
            h = jnp.repeat(h, -(-side // h.shape[axis]), axis=axis)
        return h[:, : self.size[0], : self.size[1]] + start


class _Posterior(linen.Module):
    """A block over the concatenation of h and the bottom-up activations."""

    block: _Bottleneck

    @linen.compact
    def __call__(self, h: jax.Array, activations: jax.Array) -> jax.Array:
        return self.block(jnp.concatenate([h, activations.astype(h.dtype)], axis=-1))


class _Update(linen.Module):
    """h + the residual of the prior network + a projection of z, then a residual block."""

    conv: _Convolution
    width: int
    bottleneck_channels: int
    out_scale: float
    spatial: bool

    @linen.compact
    def __call__(self, h: jax.Array, residual: jax.Array, z: jax.Array) -> jax.Array:
        projected = self.conv(self.width, 1, scale=self.out_scale, dtype=jnp.float32)(z)
        h = h + residual + projected
        return h + _Bottleneck(
            self.conv, self.bottleneck_channels, self.width, self.out_scale, self.spatial
        )(h)


class _Output(linen.Module):
    """h -> the likelihood's features at image size, by transposed strided layers or a 1×1 layer.

    Each layer but the last halves the channels, to at least `_MIN_CHANNELS`. In float32.
    """

    conv: _Convolution
    size: tuple[int, int]  # (H, W)
    out_channels: int
    upsamplings: int

    @linen.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        heights, widths = (downsampled_sizes(side, self.upsamplings) for side in self.size)
        for i in reversed(range(self.upsamplings)):
            channels = max(h.shape[-1] // 2, _MIN_CHANNELS) if i else self.out_channels
            h = self.conv(channels, 4, stride=2, transpose=True, dtype=jnp.float32)(jax.nn.gelu(h))
            h = crop(h, heights[i], widths[i])
        if self.upsamplings:
            return h
        return self.conv(self.out_channels, 1, dtype=jnp.float32)(jax.nn.gelu(h))


def _check(
    shape: Sequence[int], blocks: Sequence[int], num_downsamples: Sequence[int], precision: str
) -> None:
    """Raises the errors of `conv_ladder`."""
    if len(shape) != 3 or len(blocks) != len(num_downsamples) or not blocks:
        raise ValueError(
            "a convolutional ladder needs images (H, W, C), and blocks and num_downsamples of one "
            f"length, found events of shape {tuple(shape)}, blocks={tuple(blocks)}, "
            f"num_downsamples={tuple(num_downsamples)}"
        )
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {near_names(precision, PRECISIONS)}")


def _stage_sizes(shape: Sequence[int], num_downsamples: Sequence[int]) -> list[tuple[int, int]]:
    """Height and width of each resolution of images of this shape, the coarsest first."""
    size = (shape[0], shape[1])
    sizes: list[tuple[int, int]] = []
    for times in reversed(num_downsamples):
        size = (downsampled_sizes(size[0], times)[-1], downsampled_sizes(size[1], times)[-1])
        sizes.insert(0, size)
    return sizes


def conv_ladder(
    shape: Sequence[int],
    out_channels: int,
    *,
    blocks: Sequence[int] = (2, 4, 6, 4),
    num_downsamples: Sequence[int] = (3, 2, 1, 1),
    width: int = 64,
    bottleneck_channels: int = 16,
    latent_dim: int = 16,
    up_blocks: int = 1,
    dtype: str = "float32",
    precision: str = "default",
    implementation: str | None = None,
) -> LadderNetworks:
    """The networks of a very deep hierarchical VAE of residual blocks (VDVAE, 2011.10650, sec. 3).

    Args:
      shape: of one image, (H, W, C).
      out_channels: channels of the output for the likelihood.
      blocks: number of latents at each resolution, the coarsest first.
      num_downsamples: number of halvings from each resolution's next finer one to it (for the last,
        from the image), the coarsest first.
      width: channels of h.
      bottleneck_channels: channels inside the residual blocks.
      latent_dim: channels of z.
      up_blocks: residual blocks of the bottom-up network at each resolution.
      dtype: of the computation; h, z and the features of the densities stay float32.
      precision: of convolutions on accelerators, which by default round their inputs to less than
        float32: `'default'`, `'high'` or `'highest'`; very deep ladders have needed the last on
        TPU.
      implementation: of the convolutions, one of `conv2d.IMPLEMENTATIONS`; None chooses by backend.

    Raises:
      ValueError: the events are not images, `blocks` and `num_downsamples` differ in length, or the
        dtype or precision is unknown.
    """
    _check(shape, blocks, num_downsamples, precision)
    conv = functools.partial(
        Conv, dtype=compute_dtype(dtype), implementation=implementation, precision=precision
    )
    out_scale = sum(blocks) ** -0.5
    stages = []
    for count, size in zip(blocks, _stage_sizes(shape, num_downsamples), strict=True):
        spatial = min(size) > 2
        block = functools.partial(_Bottleneck, conv, bottleneck_channels, spatial=spatial)
        stages.append(
            StageNetworks(
                count,
                enter=from_linen(_Enter(size, width)),
                prior=from_linen(block(2 * latent_dim + width, out_scale)),
                posterior=from_linen(_Posterior(block(2 * latent_dim))),
                update=from_linen(_Update(conv, width, bottleneck_channels, out_scale, spatial)),
            )
        )
    bottom_up = _ConvBottomUp(
        conv,
        width,
        bottleneck_channels,
        blocks=[up_blocks] * len(blocks),
        num_downsamples=tuple(reversed(num_downsamples)),
        out_scale=(len(blocks) * up_blocks) ** -0.5,
    )
    output = _Output(conv, (shape[0], shape[1]), out_channels, num_downsamples[-1])
    return LadderNetworks(
        from_linen(bottom_up), tuple(stages), from_linen(output), (latent_dim,) * len(blocks)
    )
