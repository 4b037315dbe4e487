"""The table of players: who owns which groups, what each minimises, and with which optimizer."""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import optax

from vaejax.core.registry import near_names
from vaejax.core.types import Losses, Player, PyTree, Weight

__all__ = ["PlayerRow", "assign", "objective", "optimizer", "owner_labels"]

# The weights of a player's losses and its optimizer; of a further player also the groups it owns.
PlayerRow = (
    tuple[Mapping[str, Weight], optax.GradientTransformation]
    | tuple[Mapping[str, Weight], optax.GradientTransformation, tuple[str, ...]]
)


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
