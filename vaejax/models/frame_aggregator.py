"""The part of sequence models that reads frames: each is encoded, then the past is aggregated."""

from typing import NamedTuple

import chex
import jax

from vaejax.core.game import Params
from vaejax.core.types import PyTree
from vaejax.networks import Network, Recurrent

__all__ = ["FrameAggregator"]


class FrameAggregator(NamedTuple):
    """Frames -> a summary of the frames up to each time.

    Its methods receive the parameter group that holds `frame_encoder` and `aggregator`.

    Attributes:
      frame_encoder: frames `[N, ...]` -> features `[N, F]`.
      aggregator: features of a sequence -> b_t `[B, T, D]`.
      shape: of one frame.
    """

    frame_encoder: Network
    aggregator: Recurrent
    shape: tuple[int, ...]

    def init(self, keys: jax.Array, x: jax.Array) -> tuple[Params, jax.Array]:
        """The two networks' parameters, and b_0 `[B, D]`, whose shape other networks need.

        Args:
          keys: of the frame encoder and of the aggregator, the first two of them.
          x: sequences `[B, T, ...]`.
        """
        frames = x[:, 0]
        frame_encoder = self.frame_encoder.init(keys[0], frames)
        features = self.frame_encoder.apply(frame_encoder, frames)[:, None]
        aggregator = self.aggregator.init(keys[1], features)
        b = self.aggregator.apply(aggregator, features)[:, 0]
        return {"frame_encoder": frame_encoder, "aggregator": aggregator}, b

    def encode(self, group: Params, x: jax.Array) -> jax.Array:
        """Features `[B, T, F]` of the frames `[B, T, ...]`."""
        chex.assert_shape(x, (None, None, *self.shape))
        frames = x.reshape(-1, *self.shape)
        features = self.frame_encoder.apply(group["frame_encoder"], frames)
        return features.reshape(*x.shape[:2], -1)

    def apply(self, group: Params, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """b_t `[B, T, D]` of every time of the sequences `[B, T, ...]`.

        Frames that are not in the mask, bool `[B, T]`, are ignored.
        """
        features = self.encode(group, x)
        if mask is None:
            return self.aggregator.apply(group["aggregator"], features)
        return self.aggregator.apply(group["aggregator"], features, mask)

    def initial_state(self, group: Params, n: int) -> PyTree:
        """The state of n streams before their first frame."""
        return self.aggregator.initial_state(group["aggregator"], n)

    def step(self, group: Params, state: PyTree, frame: jax.Array) -> tuple[jax.Array, PyTree]:
        """`(b_t [B, D], state)` after one more frame `[B, ...]`."""
        features = self.encode(group, frame[:, None])[:, 0]
        return self.aggregator.step(group["aggregator"], state, features)
