"""A learning rate that is lowered when a metric has stopped improving."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaejax.core.types import PyTree

__all__ = ["PlateauState", "observed", "reduce_on_plateau", "waits_for_metric"]


class PlateauState(NamedTuple):
    """The state of `reduce_on_plateau`.

    Attributes:
      inner: of the player's optimizer.
      plateau: optax's, with the factor `scale`.
      value: of the last evaluation, lower is better, float32 `[]`.
      pending: 1 if `plateau` has not used it yet, int32 `[]`.
    """

    inner: PyTree
    plateau: optax.contrib.ReduceLROnPlateauState
    value: jax.Array
    pending: jax.Array


class _OfObjective(NamedTuple):
    """The same of a rate that depends on the player's objective."""

    inner: PyTree
    plateau: optax.contrib.ReduceLROnPlateauState


def reduce_on_plateau(
    inner: optax.GradientTransformation,
    objective: Callable[..., jax.Array] | None = None,
    *,
    factor: float = 0.5,
    patience: int = 10,
    cooldown: int = 0,
    rtol: float = 1e-4,
    atol: float = 0.0,
    min_scale: float = 0.0,
    every: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """A player's optimizer whose updates are multiplied by a factor that falls on plateaus.

    The rule is `optax.contrib.reduce_on_plateau`. It sees either the metric of the evaluations at
    checkpoints (`train.best_metric`, on the validation split where there is one), or means of the
    player's own objective during training. Everything is part of the optimizer's state. An
    evaluation only stores its value there, and the next step applies the rule to it, so there is
    one compiled step.

    Args:
      inner: the player's optimizer.
      objective: `(losses, step) -> scalar` of the player; needed with `every`.
      factor: by which the learning rate is multiplied.
      patience: values in a row without an improvement, after which it is.
      cooldown: values after that which are ignored.
      rtol: an improvement is a value below (1 − rtol) · best − atol. Values below zero, such as
        the negative ELBO of some densities, need `rtol=0` and an `atol`.
      atol: see `rtol`.
      min_scale: lowest product of all factors.
      every: steps over which the objective is averaged; 0 to use the evaluations.

    Raises:
      ValueError: the factor is not between 0 and 1, or both tolerances are 0.
    """
    rule = optax.contrib.reduce_on_plateau(
        factor, patience, rtol, atol, cooldown, max(every, 1), min_scale
    )
    inner = optax.with_extra_args_support(inner)

    def init(params: PyTree) -> PlateauState | _OfObjective:
        plateau, zero = rule.init(jnp.zeros(())), jnp.zeros(())
        if every:
            return _OfObjective(inner.init(params), plateau)
        return PlateauState(inner.init(params), plateau, zero, jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra: PyTree
    ) -> tuple[PyTree, PyTree]:
        updates, after = inner.update(updates, state.inner, params, **extra)
        if every:
            assert objective is not None
            value = objective(extra["losses"], extra["trace"].step)
            scaled, plateau = rule.update(updates, state.plateau, value=value)
            return scaled, _OfObjective(after, plateau)
        _, new = rule.update((), state.plateau, value=state.value)
        plateau = jax.tree.map(lambda a, b: jnp.where(state.pending > 0, a, b), new, state.plateau)
        scaled = jax.tree.map(lambda u: plateau.scale * u, updates)
        return scaled, PlateauState(after, plateau, state.value, jnp.zeros_like(state.pending))

    return optax.GradientTransformationExtraArgs(init, update)


def _is_waiting(node: PyTree) -> bool:
    return isinstance(node, PlateauState)


def waits_for_metric(opt_state: PyTree) -> bool:
    """Whether a learning rate depends on the metric of evaluations."""
    return any(map(_is_waiting, jax.tree.leaves(opt_state, is_leaf=_is_waiting)))


def observed(
    opt_state: PyTree, value: np.ndarray, put: Callable[[PyTree, jax.Array], jax.Array]
) -> PyTree:
    """The state of all optimizers after an evaluation.

    Args:
      opt_state: before.
      value: of the metric, lower is better, `[]`, or `[N]` for the models of a sweep.
      put: `(value, array) -> value` with the type and the sharding of the array.
    """

    def store(node: PyTree) -> PyTree:
        if not _is_waiting(node):
            return node
        pending = put(np.ones_like(value), node.pending)
        return node._replace(value=put(value, node.value), pending=pending)

    return jax.tree.map(store, opt_state, is_leaf=_is_waiting)
