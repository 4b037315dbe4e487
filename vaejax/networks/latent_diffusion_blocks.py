"""The blocks of the autoencoder of latent diffusion: group norm, residual block, attention."""

import math

import jax
import jax.numpy as jnp
from flax import linen
from jax.typing import DTypeLike

from vaejax.networks.layers import Conv, activation

__all__ = ["Attention", "Downsample", "GroupNorm", "ResidualBlock", "Upsample", "self_attention"]

_QUERIES = 4096  # attended at once: beyond that, memory would grow with the square of the positions


class GroupNorm(linen.Module):
    """Group norm in float32 of `[B, ..., C]`, with the largest number of groups up to `groups`.

    The number of groups divides both `groups` and C. The variance is the mean of squared
    deviations: the difference of moments loses digits where means are large. Sums over positions
    are taken for each channel, then over the few channels of a group: the last axis, which XLA
    vectorises on CPU, is that of all channels.
    """

    groups: int = 32
    epsilon: float = 1e-6

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, channels = x.shape[0], x.shape[-1]
        groups = math.gcd(self.groups, channels)
        scale = self.param("scale", linen.initializers.ones_init(), (channels,), jnp.float32)
        bias = self.param("bias", linen.initializers.zeros_init(), (channels,), jnp.float32)

        def mean(y: jax.Array) -> jax.Array:  # [B, N, C] -> [B, 1, C], equal within a group
            of_groups = y.mean(axis=1).reshape(batch, groups, -1)
            of_groups = jnp.broadcast_to(of_groups.mean(axis=2, keepdims=True), of_groups.shape)
            return of_groups.reshape(batch, 1, channels)

        y = x.astype(jnp.float32).reshape(batch, -1, channels)
        y = y - mean(y)
        factor = jax.lax.rsqrt(mean(jnp.square(y)) + self.epsilon) * scale.reshape(1, 1, -1)
        return (y * factor + bias.reshape(1, 1, -1)).reshape(x.shape)


class ResidualBlock(linen.Module):
    """Twice group norm, activation and 3×3 convolution, added to the input.

    The input has a 1×1 convolution where it has another number of channels.
    """

    channels: int
    groups: int = 32
    activation: str = "silu"
    dtype: DTypeLike = jnp.float32
    implementation: str | None = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        act = activation(self.activation)

        def conv(size: int, name: str) -> Conv:
            return Conv(
                self.channels, size, dtype=self.dtype, implementation=self.implementation, name=name
            )

        h = conv(3, "conv1")(act(GroupNorm(self.groups, name="norm1")(x)))
        h = conv(3, "conv2")(act(GroupNorm(self.groups, name="norm2")(h)))
        return (x if x.shape[-1] == self.channels else conv(1, "shortcut")(x)) + h


def self_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """softmax(q kᵀ / √C) v, `[B, N, C]`, of one head in float32; more than 4,096 queries in blocks.

    Attention is a small part of these networks; in bfloat16 its gradient mixes types.
    """

    def attend(q: jax.Array) -> jax.Array:
        heads = (a[:, :, None].astype(jnp.float32) for a in (q, k, v))
        return jax.nn.dot_product_attention(*heads)[:, :, 0].astype(v.dtype)

    batch, n, channels = q.shape
    blocks = -(-n // _QUERIES)
    if blocks == 1:
        return attend(q)
    size = -(-n // blocks)
    padded = jnp.pad(q, ((0, 0), (0, blocks * size - n), (0, 0)))
    queries = padded.reshape(batch, blocks, size, channels).swapaxes(0, 1)
    out = jax.lax.map(jax.checkpoint(attend), queries)
    return out.swapaxes(0, 1).reshape(batch, blocks * size, channels)[:, :n]


class Attention(linen.Module):
    """Self-attention of one head over all positions of a map `[B, H, W, C]`, added to it."""

    groups: int = 32
    dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        y = GroupNorm(self.groups, name="norm")(x).reshape(batch, height * width, channels)

        def dense(name: str) -> linen.Dense:
            return linen.Dense(channels, dtype=self.dtype, name=name)

        y = self_attention(*(dense(name)(y) for name in ("query", "key", "value")))
        return x + dense("out")(y).reshape(x.shape)


class Downsample(linen.Module):
    """A 3×3 convolution of stride 2, with padding on the right and at the bottom only."""

    dtype: DTypeLike = jnp.float32
    implementation: str | None = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # Of an even size, 'SAME' pads one row and one column after the last.
        dtype, implementation = self.dtype, self.implementation
        conv = Conv(x.shape[-1], 3, 2, dtype=dtype, implementation=implementation, name="conv")
        return conv(x)


class Upsample(linen.Module):
    """Every pixel four times, then a 3×3 convolution."""

    dtype: DTypeLike = jnp.float32
    implementation: str | None = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        dtype, implementation = self.dtype, self.implementation
        return Conv(x.shape[-1], 3, dtype=dtype, implementation=implementation, name="conv")(x)
