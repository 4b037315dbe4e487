"""The seam of networks that predict each token of a sequence from those before it."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Autoregressive(NamedTuple):
    """A network whose logits at each place depend on the tokens before it alone.

    A condition, where there is one, is a vector for each example, `[B, C]`.

    Attributes:
      init: `(key, tokens, *condition) -> params`.
      apply: `(params, tokens int32 [B, T], *condition) -> logits [B, T, K]`, those of each place
        given the tokens before it; −∞ for codes that there are none of.
      start: `(params, n, *condition) -> cache`, before any of the tokens.
      step: `(params, cache, token int32 [B], t) -> (logits [B, K] of place t, cache)`, given the
        token of place t − 1, which at t = 0 is ignored. Called for t = 0, 1, ... it gives what
        `apply` gives.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    start: Callable[..., Any]
    step: Callable[..., Any]
