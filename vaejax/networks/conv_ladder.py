"""The convolutional residual blocks of very deep ladders (VDVAE, NVAE)."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.core.registry import near_names
from vaejax.networks.ladder_types import LadderNetworks, StageNetworks
from vaejax.networks.layers import Conv, compute_dtype, crop, halvings
from vaejax.networks.network import from_linen

Convolution = Callable[..., linen.Module]  # `Conv`, with how to compute it
PRECISIONS = ("default", "high", "highest")
_NARROWEST = 16


class _Bottleneck(linen.Module):
    """act, 1×1, act, 3×3, act, 3×3, act, 1×1 (VDVAE, 2011.10650, figure 3); its input if asked.

    `last` scales the initialisation of the last convolution: 1/√N for N blocks keeps the variance
    of a sum of N of them.
    """

    conv: Convolution
    middle: int
    out: int
    last: float = 1.0
    spatial: bool = True  # 3×3 where the map is larger than 2×2

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size, y = 3 if self.spatial else 1, x
        for features, kernel in ((self.middle, 1), (self.middle, size), (self.middle, size)):
            y = self.conv(features, kernel)(jax.nn.gelu(y))
        return self.conv(self.out, 1, scale=self.last)(jax.nn.gelu(y)).astype(x.dtype)


class _ConvBottomUp(linen.Module):
    """Residual blocks at each resolution, halved by averages: activations, the coarsest first.

    From the image down to the first resolution it goes by strided layers, the mirror image of
    `_Last`: averages of a convolution would keep its nine taps of every place and no more.
    """

    conv: Convolution
    width: int
    middle: int
    blocks: Sequence[int]  # of each stage, the finest first
    strides: Sequence[int]  # halvings before each
    last: float

    @linen.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        stem, *halved_later = self.strides
        if not stem:
            x = self.conv(self.width, 3)(x)
        for i in reversed(range(stem)):
            width = max(self.width >> i, _NARROWEST) if i else self.width
            x = self.conv(width, 4, stride=2)(x)
            x = jax.nn.gelu(x) if i else x
        seen: list[jax.Array] = []
        for blocks, halved in zip(self.blocks, (0, *halved_later), strict=True):
            for _ in range(halved):
                odd = [(0, 0), *[(0, side % 2) for side in x.shape[1:3]], (0, 0)]
                x = jnp.pad(x, odd, mode="edge")
                n, h, w, c = x.shape
                x = x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
            for _ in range(blocks):
                spatial = min(x.shape[1:3]) > 2
                x = x + _Bottleneck(self.conv, self.middle, self.width, self.last, spatial)(x)
            seen.insert(0, x)
        return tuple(seen)


class _Enter(linen.Module):
    """A learned map `[h, w, width]`, on which the coarser h is laid by repetition."""

    height: int
    breadth: int
    width: int

    @linen.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        own = (self.height, self.breadth, self.width)
        bias = self.param("bias", linen.initializers.zeros_init(), own, jnp.float32)
        start = jnp.broadcast_to(bias[None], (h.shape[0], *own))
        if h.ndim == 2:  # the top
            return start
        for axis, side in ((1, self.height), (2, self.breadth)):
            h = jnp.repeat(h, -(-side // h.shape[axis]), axis=axis)
        return h[:, : self.height, : self.breadth] + start


class _Posterior(linen.Module):
    """A block that sees h and the activations."""

    block: _Bottleneck

    @linen.compact
    def __call__(self, h: jax.Array, seen: jax.Array) -> jax.Array:
        return self.block(jnp.concatenate([h, seen.astype(h.dtype)], axis=-1))


class _Step(linen.Module):
    """h + what the prior's network adds + z projected, and a residual block."""

    conv: Convolution
    width: int
    middle: int
    last: float
    spatial: bool

    @linen.compact
    def __call__(self, h: jax.Array, more: jax.Array, z: jax.Array) -> jax.Array:
        h = h + more + self.conv(self.width, 1, scale=self.last, dtype=jnp.float32)(z)
        return h + _Bottleneck(self.conv, self.middle, self.width, self.last, self.spatial)(h)


class _Last(linen.Module):
    """Into the channels of the likelihood: through a strided layer for each halving left, or 1×1.

    Before the last, each has half the channels of h or the layer before, but at least
    `_NARROWEST`. In float32.
    """

    conv: Convolution
    height: int
    breadth: int
    out: int
    halved: int

    @linen.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        heights, breadths = (halvings(s, self.halved) for s in (self.height, self.breadth))
        for i in reversed(range(self.halved)):
            width = max(h.shape[-1] // 2, _NARROWEST) if i else self.out
            h = self.conv(width, 4, stride=2, transpose=True, dtype=jnp.float32)(jax.nn.gelu(h))
            h = crop(h, heights[i], breadths[i])
        return h if self.halved else self.conv(self.out, 1, dtype=jnp.float32)(jax.nn.gelu(h))


def conv_ladder(
    shape: Sequence[int],
    out: int,
    *,
    blocks: Sequence[int] = (2, 4, 6, 4),
    halvings_before: Sequence[int] = (3, 2, 1, 1),
    width: int = 64,
    middle: int = 16,
    latent_dim: int = 16,
    up_blocks: int = 1,
    dtype: str = "float32",
    precision: str = "default",
    form: str | None = None,
) -> LadderNetworks:
    """A very deep ladder of residual blocks (VDVAE, 2011.10650, section 3).

    Args:
      shape: of one image, (H, W, C).
      out: channels that the decoder gives.
      blocks: latents at each resolution, the coarsest first.
      halvings_before: how often the map is halved before each, counted from the finer one (of the
        last from the image).
      width: channels of h.
      middle: channels inside the blocks.
      latent_dim: channels of z.
      up_blocks: residual blocks of the bottom-up network at each resolution.
      dtype: in which to compute; h, z and what the densities are made of stay float32.
      precision: of convolutions on accelerators, which by default round their inputs further than
        float32: `'default'`, `'high'` or `'highest'`, which very deep ladders have needed on TPU.
      form: of the convolutions; None chooses by backend.

    Raises:
      ValueError: no image, not one halving for each resolution, an unknown dtype or precision.
    """
    if len(shape) != 3 or len(blocks) != len(halvings_before) or not blocks:
        raise ValueError(
            "a convolutional ladder needs images (H, W, C), and blocks and halvings_before of one "
            f"length, found events of shape {tuple(shape)}, blocks={tuple(blocks)}, "
            f"halvings_before={tuple(halvings_before)}"
        )
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {near_names(precision, PRECISIONS)}")
    conv = functools.partial(Conv, dtype=compute_dtype(dtype), form=form, precision=precision)
    last = sum(blocks) ** -0.5
    sides: list[tuple[int, ...]] = []
    size: tuple[int, ...] = tuple(shape[:2])
    for times in reversed(halvings_before):
        size = tuple(halvings(side, times)[-1] for side in size)
        sides.insert(0, size)
    stages = []
    for count, (height, breadth) in zip(blocks, sides, strict=True):
        spatial = min(height, breadth) > 2

        def block(out: int, last: float, spatial: bool = spatial) -> _Bottleneck:
            return _Bottleneck(conv, middle, out, last, spatial)

        stages.append(
            StageNetworks(
                count,
                from_linen(_Enter(height, breadth, width)),
                from_linen(block(2 * latent_dim + width, last)),
                from_linen(_Posterior(block(2 * latent_dim, 1.0))),
                from_linen(_Step(conv, width, middle, last, spatial)),
            )
        )
    ups = [up_blocks] * len(blocks)
    bottom_up = _ConvBottomUp(
        conv, width, middle, ups, tuple(reversed(halvings_before)), (len(ups) * up_blocks) ** -0.5
    )
    return LadderNetworks(
        from_linen(bottom_up), tuple(stages),
        from_linen(_Last(conv, shape[0], shape[1], out, halvings_before[-1])),
        (latent_dim,) * len(blocks),
    )  # fmt: skip
