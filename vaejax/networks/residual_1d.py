"""The residual encoder and decoder along one axis: for signals, and for sequences of tokens."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.layers import compute_dtype
from vaejax.networks.network import Network, from_linen
from vaejax.networks.residual import ResidualDecoder, ResidualEncoder


class TokenEncoder(linen.Module):
    """A learned vector for each token, then the encoder of signals: `[B, T] -> [B, t, width]`.

    A token that there is not gives NaN, which the trainer reports.
    """

    tokens: int
    embedding: int
    encoder: ResidualEncoder

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        shape = (self.tokens, self.embedding)
        table = self.param("embedding", linen.initializers.normal(1.0), shape, jnp.float32)
        table = table.astype(compute_dtype(self.encoder.dtype))
        # Whoever asks for the shape of the features alone may hold a float32 event.
        return self.encoder(jnp.take(table, x.astype(jnp.int32), axis=0), condition)


def residual_1d(
    shape: Sequence[int],
    width: int,
    out: int,
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
    form: str | None = None,
) -> tuple[Network, Network]:
    """An encoder into features `[B, t, width]` along a line, and its decoder into `[B, T, out]`.

    The layers are those of `residual` (1711.00937, section 4.1), along one axis. Signals
    `[B, T, C]` go in as they are, tokens `[B, T]` as vectors that are learned.

    Args:
      shape: of one event: (T, C), a signal, or (T,), tokens.
      width: channels of the features.
      out: channels that the decoder gives; of tokens, a logit for each class.
      tokens: classes of tokens that go in. None: as many as come out.
      embedding: dimensions of a token's vector.
      hidden: channels inside.
      downsamplings: layers of stride 2; t is T halved as often, rounded up.
      blocks: residual blocks on either side.
      block_hidden: channels inside a residual block.
      activation: between layers.
      groups: of group norm in the residual blocks; 0 for none.
      dtype: in which to compute.
      form: of the convolutions; None chooses by backend.
    """
    inner = (hidden, downsamplings, blocks, block_hidden, activation, groups, dtype, form)
    encoder: Any = ResidualEncoder(width, *inner)
    if len(shape) == 1:
        encoder = TokenEncoder(tokens or out, embedding, encoder)
    return from_linen(encoder), from_linen(ResidualDecoder(shape[:1], out, *inner))
