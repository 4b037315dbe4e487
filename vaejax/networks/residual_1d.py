"""The residual encoder and decoder along one axis, for signals and for sequences of tokens."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.layers import compute_dtype
from vaejax.networks.network import Network, from_linen
from vaejax.networks.residual import (
    ResidualDecoder,
    ResidualEncoder,
    last_convolution,
    mask_of_features,
)

__all__ = ["residual_1d"]


class TokenEncoder(linen.Module):
    """Token embeddings, then the encoder of signals: `[B, T] -> [B, t, features]`.

    Out-of-range tokens embed to NaN, which the trainer reports.
    """

    tokens: int
    embedding: int
    encoder: ResidualEncoder

    @linen.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        shape = (self.tokens, self.embedding)
        table = self.param("embedding", linen.initializers.normal(1.0), shape, jnp.float32)
        table = table.astype(compute_dtype(self.encoder.dtype))
        # Models that only infer the shape of the features pass a float32 event.
        return self.encoder(jnp.take(table, x.astype(jnp.int32), axis=0), condition, mask)


def residual_1d(
    shape: Sequence[int],
    features: int,
    out_channels: int,
    *,
    tokens: int | None = None,
    embedding: int = 32,
    hidden: int = 128,
    downsamplings: int = 2,
    blocks: int = 2,
    block_hidden: int = 32,
    activation: str = "relu",
    groups: int = 0,
    dtype: str = "float32",
    implementation: str | None = None,
) -> tuple[Network, Network]:
    """An encoder into features `[B, t, features]`, and its decoder into `[B, T, out_channels]`.

    The layers are those of `residual` (1711.00937, section 4.1), along one axis. Signals
    `[B, T, C]` are encoded directly, tokens `[B, T]` by way of learned embeddings.

    Args:
      shape: of one event: (T, C), a signal, or (T,), tokens.
      features: channels of the encoder's output.
      out_channels: channels of the decoder's output; for tokens, a logit for each class.
      tokens: number of classes of the input tokens. None: `out_channels`.
      embedding: dimensions of a token's embedding.
      hidden: channels of the hidden layers.
      downsamplings: number of layers of stride 2; t is T halved as often, rounded up.
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
    events = ResidualEncoder(features, *common)
    is_tokens = len(shape) == 1
    encoder = TokenEncoder(tokens or out_channels, embedding, events) if is_tokens else events
    return (
        from_linen(encoder, masks=True, feature_mask=lambda m: mask_of_features(m, downsamplings)),
        from_linen(
            ResidualDecoder(shape[:1], out_channels, *common),
            masks=True,
            last_layer=last_convolution(downsamplings),
        ),
    )
