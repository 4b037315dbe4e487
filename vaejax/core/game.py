"""The game: traces of forward passes, losses that compose, and players that minimise them.

The forward pass of every family returns a `Trace`: a likelihood and a tuple of stochastic nodes. A
chain of `LossTransform`s turns a trace into named losses, in nats per example. A table of `Player`s
defines the objectives: each player owns groups of parameters and minimises its own weighted sum of
losses. An ordinary VAE is a game with one player; stop-gradients, adversaries and codebooks are
further rows of the table. This module is independent of networks and of files.
"""

from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp
import optax

from vaejax.core.registry import near_names
from vaejax.core.types import (
    Batch,
    Family,
    Latent,
    Losses,
    LossTransform,
    Model,
    Params,
    Player,
    PyTree,
    Trace,
    Weight,
)

__all__ = [
    "Batch",
    "Family",
    "Latent",
    "LossTransform",
    "Losses",
    "Model",
    "Params",
    "Player",
    "PlayerRow",
    "Trace",
    "Weight",
    "assign",
    "chain",
    "game_gradient",
    "init",
    "losses_and_trace",
    "merge",
    "objective",
    "optimizer",
    "owner_labels",
]

# The weights of a player's losses and its optimizer; of a further player also the groups it owns.
PlayerRow = (
    tuple[Mapping[str, Weight], optax.GradientTransformation]
    | tuple[Mapping[str, Weight], optax.GradientTransformation, tuple[str, ...]]
)


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


def assign(
    owners: Mapping[str, tuple[str, ...]],
    players: Mapping[str, PlayerRow],
) -> dict[str, Player]:
    """The table of players: a family's `owners` joined with the objectives from the config.

    Args:
      owners: player name -> the parameter groups it owns.
      players: player name -> (loss name -> weight, optimizer), with a third element for a further
        player: the groups that it takes from the family's own players.

    Raises:
      ValueError: a player is unknown or missing, takes a group that there is not, or is left
        without groups.
    """
    further = {name: row[2] for name, row in players.items() if len(row) == 3 and row[2]}
    groups = [group for owns in owners.values() for group in owns]
    for name, owns in further.items():
        if name in owners:
            raise ValueError(f"players.{name}.owns: {name!r} is a player of this family already")
        for group in owns:
            if group not in groups:
                raise ValueError(f"players.{name}.owns: unknown group {near_names(group, groups)}")
    taken = {group for owns in further.values() for group in owns}
    owners = {name: tuple(g for g in owns if g not in taken) for name, owns in owners.items()}
    if empty := [name for name, owns in owners.items() if not owns]:
        raise ValueError(
            f"player {empty[0]!r} has no groups left; to freeze all of them, set "
            f"players.{empty[0]}.optimizer=freeze"
        )
    owners = {**owners, **further}
    for name in players:
        if name not in owners:
            raise ValueError(f"this family has no player {near_names(name, owners)}")
    missing = sorted(owners.keys() - players.keys())
    if missing:
        raise ValueError(f"no losses and optimizer given for the players {missing}")
    return {name: Player(owns, *players[name][:2]) for name, owns in owners.items()}


def objective(minimizes: Mapping[str, Weight], losses: Losses, step: jax.Array) -> jax.Array:
    """A player's weighted sum of losses, averaged once over the batch: a scalar in nats."""
    terms = []
    for name, weight in minimizes.items():
        if name not in losses:
            raise ValueError(f"no transform of the chain makes the loss {near_names(name, losses)}")
        value = losses[name]
        chex.assert_rank(value, {0, 1, 2})
        weight = jnp.asarray(weight(step) if callable(weight) else weight, value.dtype)
        if value.ndim > 0:
            value = value.mean(axis=0)  # [] or [L]
        terms.append(jnp.sum(value * weight))
    return jnp.stack(terms).sum()


def game_gradient(
    losses_fn: Callable[..., tuple[Losses, PyTree]], players: Mapping[str, Player]
) -> Callable[..., tuple[Params, Losses, PyTree]]:
    """One `jax.grad` per player over the groups it owns, as one gradient tree.

    All players move simultaneously. Each gradient repeats the same forward pass, which the compiler
    merges into one, loops that sample random numbers included. The returned losses and aux are
    those of the first player's pass, so that the compiler removes them from the other passes.

    A player that minimises nothing is frozen: its gradient is zero and costs nothing.

    Args:
      losses_fn: `(params, *args) -> (losses, aux)`.
      players: the table of players.

    Returns:
      `(params, step, *args) -> (gradient, losses, aux)`; the gradient has the structure of
      `params`.
    """

    def gradient(params: Params, step: jax.Array, *args: PyTree) -> tuple[Params, Losses, PyTree]:
        grads: Params = {}
        outputs: list[tuple[Losses, PyTree]] = []
        for player in players.values():
            if not player.minimizes:  # frozen
                grads |= {g: jax.tree.map(jnp.zeros_like, params[g]) for g in player.owns}
                continue

            def loss(owned: Params, player: Player = player) -> tuple[jax.Array, PyTree]:
                losses, aux = losses_fn({**params, **owned}, *args)
                return objective(player.minimizes, losses, step), (losses, aux)

            owned = {group: params[group] for group in player.owns}
            owned_grads, output = jax.grad(loss, has_aux=True)(owned)
            outputs.append(output)
            grads.update(owned_grads)
        losses, aux = outputs[0] if outputs else losses_fn(params, *args)
        return {group: grads[group] for group in params}, losses, aux

    return gradient


def owner_labels(players: Mapping[str, Player]) -> dict[str, str]:
    """Parameter group -> the name of the player that owns it.

    Raises:
      ValueError: a group has two owners.
    """
    labels: dict[str, str] = {}
    for name, player in players.items():
        for group in player.owns:
            if group in labels:
                raise ValueError(
                    f"parameter group {group!r} has two owners: {labels[group]!r} and {name!r}"
                )
            labels[group] = name
    return labels


def optimizer(players: Mapping[str, Player]) -> optax.GradientTransformationExtraArgs:
    """All players' optimizers as one transformation of the game's gradient tree."""
    partitioned = optax.partition(
        {name: player.tx for name, player in players.items()}, owner_labels(players)
    )

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra: PyTree
    ) -> tuple[PyTree, PyTree]:
        # optax mixes its int32 count of steps with floats, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = partitioned.update(updates, state, params, **extra)
        return updates, state

    return optax.GradientTransformationExtraArgs(partitioned.init, update)


def init(family: Family, key: jax.Array, batch: Batch) -> Params:
    """Parameters of the model and of the losses' networks, after checking the table of players.

    Raises:
      ValueError: a group without an owner or with two, a player of an unknown group, a weight on a
        loss that the chain does not make, or a mask of missing values that the model ignores.
    """
    if "mask" in batch and not family.model.honours_mask:
        raise ValueError(
            "the data have missing values or padding (a mask), which this family's model does not "
            "honour: remove the mask and fill in the values, or choose another family"
        )
    model_key, losses_key, forward_key = jax.random.split(key, 3)
    params = dict(family.model.init(model_key, batch))
    trace = family.model.forward(params, batch, forward_key, jnp.zeros((), jnp.int32))
    merge(params, family.losses.init(losses_key, trace), "the chain of losses")
    losses = jax.eval_shape(family.losses.apply, {}, params, trace, forward_key)

    labels = owner_labels(family.players)
    for group, player in labels.items():
        if group not in params:
            raise ValueError(f"player {player!r} owns an unknown group {near_names(group, params)}")
    orphans = sorted(params.keys() - labels.keys())
    if orphans:
        raise ValueError(f"parameter groups without an owner: {orphans}; give each to one player")
    for name, row in family.players.items():
        for loss in row.minimizes:
            if loss not in losses:
                raise ValueError(
                    f"player {name!r} minimises an unknown loss {near_names(loss, losses)}"
                )
    return params


def losses_and_trace(
    family: Family, *, training: bool = True
) -> Callable[..., tuple[Losses, Trace]]:
    """`(params, batch, key, step) -> (losses, trace)`: the forward pass and every named loss.

    Without `training` the model receives None for the step (no dropout, no relaxation); the losses
    still receive the step, so that what they anneal is held at its current value.
    """

    def losses_fn(
        params: Params, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[Losses, Trace]:
        forward_key, losses_key = jax.random.split(key)
        trace = family.model.forward(params, batch, forward_key, step if training else None)
        trace = trace._replace(step=step)
        return family.losses.apply({}, params, trace, losses_key), trace

    return losses_fn
