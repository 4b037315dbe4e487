"""Chains of loss transforms, and groups of parameters without duplicate names."""

import jax

from vaejax.core.types import Losses, LossTransform, Params, Trace

__all__ = ["chain", "merge"]


def chain(*transforms: LossTransform) -> LossTransform:
    """One transform that applies `transforms` in order to one dict of losses.

    Raises:
      ValueError: a transform overwrites or drops a loss, or two transforms make the same
        parameter group.
    """

    def init(key: jax.Array, trace: Trace) -> Params:
        groups: Params = {}
        for i, transform in enumerate(transforms):
            merge(groups, transform.init(jax.random.fold_in(key, i), trace), "a loss transform")
        return groups

    def apply(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        for i, transform in enumerate(transforms):
            after = transform.apply(dict(losses), params, trace, jax.random.fold_in(key, i))
            changed = [name for name in losses if after.get(name) is not losses[name]]
            if changed:
                raise ValueError(
                    f"loss transform {i} of the chain overwrites or drops {changed}; "
                    "a transform only adds names: write the new value under a name of its own"
                )
            losses = after
        return losses

    statistics = (name for transform in transforms for name in transform.batch_statistics)
    return LossTransform(init, apply, tuple(dict.fromkeys(statistics)))


def merge(groups: Params, more: Params, who: str) -> Params:
    """Adds the parameter groups `more` to `groups` in place.

    Args:
      groups: the existing groups.
      more: the new groups.
      who: made them, for the error.

    Raises:
      ValueError: a group exists already.
    """
    taken = sorted(groups.keys() & more.keys())
    if taken:
        raise ValueError(f"{who} makes parameter groups that exist already: {taken}")
    groups.update(more)
    return groups
