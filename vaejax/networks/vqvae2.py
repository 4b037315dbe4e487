"""The networks of codes on several levels: maps of features, each coarser than the one below."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from flax import linen

from vaejax.networks.layers import Conv, attach, halvings
from vaejax.networks.network import Network, from_linen
from vaejax.networks.residual import residual


class Rung(NamedTuple):
    """The networks of one level.

    Attributes:
      encoder: features of the level below (or the event) -> features `[B, h, w, C]`.
      tokens: these and the context from above `[B, h, w, C]` (not at the top) -> what is quantised.
      decoder: z and the context -> the context of the level below, or features of the likelihood.
    """

    encoder: Network
    tokens: Network
    decoder: Network


class _Tokens(linen.Module):
    """A linear map at each place."""

    width: int
    form: str | None = None

    @linen.compact
    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        return Conv(self.width, 1, form=self.form)(attach(x, context))


def ladder_of_maps(
    shape: Sequence[int],
    width: int,
    out: int,
    downsamplings: Sequence[int] = (2, 1),
    *,
    hidden: int = 128,
    **options: Any,
) -> list[Rung]:
    """The rungs of a ladder of feature maps, the top first.

    Args:
      shape: of one image, (H, W, C).
      width: dimensions of a token.
      out: channels that the bottom decoder gives.
      downsamplings: strides of 2 before the bottom level, and from each to the next above.
      hidden: channels of the maps.
      **options: of `residual`.

    Raises:
      ValueError: no levels, or an event that is no image.
    """
    if not downsamplings or len(shape) != 3:
        raise ValueError(
            "codes on several levels need images (H, W, C) and one of `downsamplings` for each "
            f"level, found events of shape {tuple(shape)} and downsamplings={tuple(downsamplings)}"
        )
    rungs: list[Rung] = []
    below, channels = tuple(shape), out
    for times in downsamplings:
        encoder, decoder = residual(
            below, hidden, channels, hidden=hidden, downsamplings=times, **options
        )
        tokens = from_linen(_Tokens(width, options.get("form")))
        rungs.insert(0, Rung(encoder, tokens, decoder))
        sides = (halvings(side, times)[-1] for side in below[:2])
        below, channels = (*sides, hidden), hidden
    return rungs
