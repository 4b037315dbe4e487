"""How the codes of a model's nodes stand in one sequence, which a prior over codes goes along."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch, Family, Latent, Params
from vaejax.distributions import Codes, Normal


class CodeMap(NamedTuple):
    """The codes of one node.

    Attributes:
      places: axes over which the codes are spread, such as (h, w); () for one place.
      trailing: further axes of a place's codes, such as the levels of a residual quantizer.
      size: how many codes there are to choose from, K.
    """

    places: tuple[int, ...]
    trailing: tuple[int, ...]
    size: int

    @property
    def kinds(self) -> int:
        """Codes at one place, each of a kind of its own."""
        return math.prod(self.trailing)

    @property
    def length(self) -> int:
        """Codes of the whole node."""
        return math.prod(self.places) * self.kinds


class Layout(NamedTuple):
    """The codes of several nodes in one sequence of T: node by node, each in raster order.

    The trailing axes of a node are innermost: all codes of a place, then those of the next.
    """

    nodes: tuple[CodeMap, ...]

    @property
    def length(self) -> int:
        """T."""
        return sum(node.length for node in self.nodes)

    @property
    def vocabulary(self) -> int:
        """K of the largest codebook: how many logits there are at every place."""
        return max(node.size for node in self.nodes)

    def kinds(self) -> np.ndarray:
        """int32 `[T]`: which of the kinds of codes stands at each place, counted over all nodes."""
        kinds, first = [], 0
        for node in self.nodes:
            kinds.append(np.tile(np.arange(first, first + node.kinds), math.prod(node.places)))
            first += node.kinds
        return np.concatenate(kinds).astype(np.int32)

    def allowed(self) -> np.ndarray:
        """bool `[kinds, K]`: the codes that there are of each kind."""
        sizes = np.concatenate([np.full(node.kinds, node.size) for node in self.nodes])
        return np.arange(self.vocabulary) < sizes[:, None]

    def flatten(self, indices: Sequence[jax.Array]) -> jax.Array:
        """The indices of every node, int32 `[B, *places, *trailing]` each, as tokens `[B, T]`."""
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


def layout_of(latents: Sequence[Latent]) -> Layout:
    """The layout of the codes in a trace, of arrays or of their shapes.

    A node's z `[B, *places, D]` tells which axes of its indices are places.

    Raises:
      ValueError: a node holds no codes.
    """
    nodes = []
    for i, node in enumerate(latents):
        q = node.posterior
        if not isinstance(q, Codes):
            raise ValueError(
                f"node {i} has a posterior of type {type(q).__name__}, but a prior over codes is "
                "learned from codes; for one Gaussian vector take --config=configs/prior.py:mixture"
            )
        spread = node.z.ndim - 2
        shape = q.indices.shape[1:]
        nodes.append(CodeMap(shape[:spread], shape[spread:], q.size))
    return Layout(tuple(nodes))


def layout_of_model(who: str, family: Family, params: Params, batch: Batch) -> Layout | None:
    """The layout of a model's codes, or None for one Gaussian vector; computes nothing.

    Args:
      who: asks, for the errors.
      family: whose model.
      params: of it, or their shapes.
      batch: to be encoded, or its shapes.

    Raises:
      ValueError: it has neither, or a condition.
    """
    trace = jax.eval_shape(
        lambda p, b, key: family.model.forward(p, b, key, None), params, batch, jax.random.key(0)
    )
    if trace.condition is not None:
        raise ValueError(
            f"{who} is a conditional model, whose decoder wants a condition beside z; "
            "take a model without one"
        )
    nodes: tuple[Latent, ...] = trace.latents
    if len(nodes) == 1 and isinstance(nodes[0].posterior, Normal) and nodes[0].z.ndim == 2:
        return None
    if nodes and all(isinstance(node.posterior, Codes) for node in nodes):
        if family.model.embed is None:
            raise ValueError(f"{who}: its model cannot turn indices into codes again")
        return layout_of(nodes)
    kinds = [f"{type(n.posterior).__name__} {n.z.shape[1:]}" for n in nodes]
    raise ValueError(
        f"{who}: a prior is learned for codes, or for one Gaussian vector; its model "
        f"has the nodes {kinds}"
    )
