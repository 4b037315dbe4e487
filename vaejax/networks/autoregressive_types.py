"""The interface of autoregressive networks over token sequences."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from vaejax.core.types import PyTree

__all__ = ["Autoregressive"]


class Autoregressive(NamedTuple):
    """A network whose logits at each position depend on the previous tokens only.

    The condition is optional: one vector per example, `[B, C]`.

    Attributes:
      init: `(key, tokens, *condition) -> params`.
      apply: `(params, tokens int32 [B, T], *condition) -> logits [B, T, K]`, at each position given
        the tokens before it; −∞ for codes that do not exist at that position.
      init_cache: `(params, n, *condition) -> cache` before the first token.
      step: `(params, cache, token int32 [B], t) -> (logits [B, K] of position t, cache)`, given the
        token of position t − 1, which is ignored at t = 0. Calls for t = 0, 1, ... return the
        logits that `apply` returns.
      masked: `(params, mask [B, T], tokens, *condition) -> logits`: `apply` without attention to
        the tokens that are not in the mask, for networks that can; else None.
    """

    init: Callable[..., PyTree]
    apply: Callable[..., jax.Array]
    init_cache: Callable[..., PyTree]
    step: Callable[..., tuple[jax.Array, PyTree]]
    masked: Callable[..., jax.Array] | None = None
