"""The networks of VQ-VAE-2: feature maps at several levels, each coarser than the one below."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from flax import linen

from vaejax.core.types import Setting
from vaejax.networks.layers import Conv, concat_condition, downsampled_sizes
from vaejax.networks.network import Network, from_linen
from vaejax.networks.residual import residual

__all__ = ["LadderLevel", "multiscale_networks"]


class LadderLevel(NamedTuple):
    """The networks of one level of VQ-VAE-2.

    The context of a level is a feature map decoded from the codes above it; the top level has none.

    Attributes:
      encoder: features of the level below (or the event) -> features `[B, h, w, C]`.
      tokens: (features, context `[B, h, w, C]`) -> tokens to quantise `[B, h, w, width]`.
      decoder: (z, context) -> the context of the level below; at the bottom level, the features of
        the likelihood.
    """

    encoder: Network
    tokens: Network
    decoder: Network


class _Tokens(linen.Module):
    """A linear map at each position."""

    width: int
    implementation: str | None = None

    @linen.compact
    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        return Conv(self.width, 1, implementation=self.implementation)(concat_condition(x, context))


def multiscale_networks(
    shape: Sequence[int],
    width: int,
    out_channels: int,
    downsamplings: Sequence[int] = (2, 1),
    *,
    hidden: int = 128,
    **options: Setting,
) -> list[LadderLevel]:
    """The networks of every level of VQ-VAE-2, the top first.

    Args:
      shape: of one image, (H, W, C).
      width: dimensions of a token.
      out_channels: channels of the bottom decoder's output.
      downsamplings: number of strides of 2 from the image to the bottom level, and from each level
        to the one above.
      hidden: channels of the feature maps.
      **options: of `residual`.

    Raises:
      ValueError: there are no levels, or the events are not images.
    """
    if not downsamplings or len(shape) != 3:
        raise ValueError(
            "codes at several levels need images (H, W, C) and one of `downsamplings` for each "
            f"level, found events of shape {tuple(shape)} and downsamplings={tuple(downsamplings)}"
        )
    levels: list[LadderLevel] = []
    below, channels = tuple(shape), out_channels
    for times in downsamplings:
        encoder, decoder = residual(
            below, hidden, channels, hidden=hidden, downsamplings=times, **options
        )
        tokens = from_linen(_Tokens(width, options.get("implementation")))
        levels.insert(0, LadderLevel(encoder, tokens, decoder))
        sides = (downsampled_sizes(side, times)[-1] for side in below[:2])
        below, channels = (*sides, hidden), hidden
    return levels
