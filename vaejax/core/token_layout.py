"""The token layout: the order of the codes of all nodes of a model in one token sequence."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["CodeMap", "Layout"]


class CodeMap(NamedTuple):
    """The codes of one node.

    Attributes:
      places: shape of the grid of positions, such as (h, w); () for one position.
      trailing: shape of the codes at one position, such as the levels of a residual quantizer.
      size: K, the number of codes in the codebook.
    """

    places: tuple[int, ...]
    trailing: tuple[int, ...]
    size: int

    @property
    def kinds(self) -> int:
        """Number of codes at one position, each of a different kind."""
        return math.prod(self.trailing)

    @property
    def length(self) -> int:
        """Number of codes of the node."""
        return math.prod(self.places) * self.kinds


class Layout(NamedTuple):
    """The codes of all nodes in one sequence of T tokens: node by node, each in raster order.

    The trailing axes of a node are innermost: all codes of one position, then those of the next.
    """

    nodes: tuple[CodeMap, ...]

    @property
    def length(self) -> int:
        """T."""
        return sum(node.length for node in self.nodes)

    @property
    def vocabulary(self) -> int:
        """K of the largest codebook: the number of logits of every token."""
        return max(node.size for node in self.nodes)

    def kinds(self) -> np.ndarray:
        """The kind of code of each token, int32 `[T]`, numbered over all nodes."""
        kinds, first = [], 0
        for node in self.nodes:
            kinds.append(np.tile(np.arange(first, first + node.kinds), math.prod(node.places)))
            first += node.kinds
        return np.concatenate(kinds).astype(np.int32)

    def allowed(self) -> np.ndarray:
        """Which codes exist for each kind, bool `[kinds, K]`."""
        sizes = np.concatenate([np.full(node.kinds, node.size) for node in self.nodes])
        return np.arange(self.vocabulary) < sizes[:, None]

    def flatten(self, indices: Sequence[jax.Array]) -> jax.Array:
        """Tokens `[B, T]` of the indices of every node, int32 `[B, *places, *trailing]` each."""
        return jnp.concatenate([i.reshape(i.shape[0], -1) for i in indices], axis=1)

    def split(self, tokens: jax.Array) -> tuple[jax.Array, ...]:
        """The inverse of `flatten`; further axes `[B, T, ...]` are kept."""
        parts, start = [], 0
        for node in self.nodes:
            part = tokens[:, start : start + node.length]
            shape = (*node.places, *node.trailing, *tokens.shape[2:])
            parts.append(part.reshape(tokens.shape[0], *shape))
            start += node.length
        return tuple(parts)
