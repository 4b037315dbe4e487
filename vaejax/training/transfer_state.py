"""The state of optimizers from one set of settings to another.

A run that goes on under another learning rate keeps the moments of Adam and all other state that
both sets of optimizers have.
"""

from collections.abc import Mapping

import jax
import numpy as np

from vaejax.core.types import PyTree

__all__ = ["transferred"]


def _named(tree: PyTree, kind: str = "", path: str = "", counts: PyTree = None) -> PyTree:
    """Pairs (name, array) of the leaves of a state, in order.

    The name is the player, the innermost named tuple that holds the array (Adam's state, say), the
    number of this tuple among those of its kind, and the path in it; it does not depend on the
    transformations around.
    """
    counts = {} if counts is None else counts
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        player, _, _ = kind.partition("|")
        name = f"{player}|{type(tree).__name__}"
        number = counts[name] = counts.get(name, -1) + 1
        for field, value in zip(tree._fields, tree, strict=True):
            yield from _named(value, name, f"{number}/{field}", counts)
    elif isinstance(tree, Mapping):
        for key in sorted(tree):
            # The state of all players is a mapping from their names, at the top.
            inside = f"{key}|" if kind == "|PartitionState" else kind
            yield from _named(tree[key], inside, f"{path}/{key}", counts)
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from _named(value, kind, f"{path}/{i}", counts)
    elif tree is not None:
        yield f"{kind}:{path}", tree


def transferred(fresh: PyTree, earlier: PyTree, step: jax.Array) -> PyTree:
    """The state of new optimizers with everything that the earlier ones have.

    Args:
      fresh: the initial state of the new optimizers.
      earlier: the state of the earlier ones, at this step.
      step: number of steps taken, from which new schedules count.
    """
    old = dict(_named(earlier))
    leaves = []
    for name, leaf in _named(fresh):
        value = old.get(name)
        if value is not None and value.shape == leaf.shape and value.dtype == leaf.dtype:
            leaf = jax.device_put(value, leaf.sharding)
        elif name.endswith("/count") and "ScaleByScheduleState" in name:
            leaf = jax.device_put(np.asarray(step, leaf.dtype), leaf.sharding)
        leaves.append(leaf)
    return jax.tree.unflatten(jax.tree.structure(fresh), leaves)
