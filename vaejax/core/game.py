"""The game: traces of forward passes, losses that compose, and players that minimise them.

The forward pass of every family returns a `Trace`: a likelihood and a tuple of stochastic nodes. A
chain of `LossTransform`s (`core/loss_chain.py`) turns a trace into named losses, in nats per
example. A table of `Player`s (`core/players.py`) defines the objectives: each player owns groups of
parameters and minimises its own weighted sum of losses. An ordinary VAE is a game with one player;
stop-gradients, adversaries and codebooks are further rows of the table. These modules are
independent of networks and of files.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from vaejax.core.loss_chain import chain, merge
from vaejax.core.players import PlayerRow, assign, objective, optimizer, owner_labels
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


def game_gradient(
    losses_fn: Callable[..., tuple[Losses, PyTree]], players: Mapping[str, Player]
) -> Callable[..., tuple[Params, Losses, PyTree]]:
    """The gradient of each player's objective over the groups it owns, as one gradient tree.

    All players move simultaneously. The losses are linearised once, and the linear map is
    transposed for each player: they share the forward pass, whatever the compiler merges.

    A player that minimises nothing is frozen: its gradient is zero and costs nothing.

    Args:
      losses_fn: `(params, *args) -> (losses, aux)`.
      players: the table of players.

    Returns:
      `(params, step, *args) -> (gradient, losses, aux)`; the gradient has the structure of
      `params`.
    """

    def gradient(params: Params, step: jax.Array, *args: PyTree) -> tuple[Params, Losses, PyTree]:
        grads = {group: jax.tree.map(jnp.zeros_like, params[group]) for group in params}
        playing = [player for player in players.values() if player.minimizes]
        trained = {group: params[group] for player in playing for group in player.owns}

        def forward(trained: Params) -> tuple[Losses, PyTree]:
            return losses_fn({**params, **trained}, *args)

        losses, tangents_of, aux = jax.linearize(forward, trained, has_aux=True)
        for player in playing:

            def change(tangents: Params, player: Player = player) -> jax.Array:
                return objective(player.minimizes, tangents_of(tangents), step)

            one = jnp.ones((), jax.eval_shape(change, trained).dtype)
            (of_all,) = jax.linear_transpose(change, trained)(one)
            grads |= {group: of_all[group] for group in player.owns}
        return grads, losses, aux

    return gradient


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
