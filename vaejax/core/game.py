"""The heart: what a forward pass leaves behind, how losses compose, and who minimises what.

A VAE of any family ends its forward pass with a `Trace`: a likelihood and a tuple of stochastic
nodes. A chain of `LossTransform`s turns a trace into named losses, in nats per example. A table of
`Player`s says who minimises what: each owns groups of parameters and descends its own weighted sum
of losses. An ordinary VAE is a game with one player; stop-gradients, adversaries and codebooks are
further rows of the table. This file knows neither networks nor files.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from vaejax.core.partial_evaluation import hoisted
from vaejax.core.registry import near_names

Params = dict[str, Any]  # group name -> tree of arrays
Losses = dict[str, jax.Array]  # loss name -> [] (of the batch), [B] or [B, L]
Batch = Mapping[str, jax.Array]
Weight = Any  # a number, an array [L], or a schedule: step -> number


class Latent(NamedTuple):
    """One stochastic node: q(z | ...), p(z | ...), and the draw that the decoder saw."""

    posterior: Any
    prior: Any
    z: jax.Array  # [B, ...]


class Trace(NamedTuple):
    """All that a forward pass leaves behind.

    Attributes:
      x: what has to be explained, `[B, ...]`.
      likelihood: p(x | z), a distribution.
      latents: the stochastic nodes, top-down.
      generated: p(x | z) at z ~ prior, only where a loss asks for it.
      step: the training step, for losses that anneal something other than their weight.
      condition: what a conditional model was given, `[B, ...]`; None for any other.
    """

    x: jax.Array
    likelihood: Any
    latents: tuple[Latent, ...]
    generated: Any = None
    step: Any = 0
    condition: jax.Array | None = None


class LossTransform(NamedTuple):
    """A pair of pure functions that adds named losses to a dict of them.

    Attributes:
      init: `(key, trace) -> {group: params}`, the parameters of its own networks; `{}` if none.
      apply: `(losses, params, trace, key) -> losses` with more names in it.
    """

    init: Callable[[jax.Array, Trace], Params]
    apply: Callable[[Losses, Params, Trace, jax.Array], Losses]


class Player(NamedTuple):
    """One row of the table: the groups it owns, what it minimises, and how it moves.

    Attributes:
      owns: names of parameter groups; every group of a family has exactly one owner.
      minimizes: loss name -> weight. A weight is a number (traced or not), an array `[L]` for a
        loss `[B, L]`, or a schedule of the step.
      tx: the optimizer of these groups. Its update also receives `trace`, `losses` and `key` as
        extra arguments, so that closed-form updates (an EMA codebook) and players that wait for
        others (a GAN's) are optimizers like any other.
    """

    owns: tuple[str, ...]
    minimizes: Mapping[str, Weight]
    tx: optax.GradientTransformation


class Model(NamedTuple):
    """Pure functions over a dict of parameter groups.

    Attributes:
      init: `(key, batch) -> {group: params}`; may look at the batch (data-dependent init).
      forward: `(params, batch, key, step) -> Trace`; outside of training the step is None, and
        nothing is dropped out or relaxed.
      encode: `(params, batch, key) -> tuple[Latent, ...]`; without a key, None, z are means or the
        likeliest codes.
      decode: `(params, zs, condition) -> likelihood`.
      generate: `(params, key, n, condition, temperature) -> likelihood` at z ~ prior.
      embed: `(params, indices of each node) -> zs`, for models whose nodes hold codes; else None.
      sequences: a `sequences.SequenceModel`, for models of what comes next; else None.
      features: `(params, events) -> [B, F]`, of a classifier what its last layer sees; else None.
    """

    init: Callable[..., Params]
    forward: Callable[..., Trace]
    encode: Callable[..., tuple[Latent, ...]]
    decode: Callable[..., Any]
    generate: Callable[..., Any]
    embed: Callable[..., tuple[jax.Array, ...]] | None = None
    sequences: Any = None
    features: Callable[..., jax.Array] | None = None


class Family(NamedTuple):
    """What a config builds and the trainer trains."""

    model: Model
    losses: LossTransform
    players: Mapping[str, Player]


def chain(*transforms: LossTransform) -> LossTransform:
    """Threads one dict of losses through `transforms`, in order.

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

    return LossTransform(init, apply)


def merge(groups: Params, more: Params, who: str) -> Params:
    """Adds parameter groups in place.

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
    players: Mapping[str, tuple[Mapping[str, Weight], optax.GradientTransformation]],
) -> dict[str, Player]:
    """The table of players: a family's `owners` joined with what the user says they minimise.

    Args:
      owners: player name -> the parameter groups it owns.
      players: player name -> (loss name -> weight, optimizer).

    Raises:
      ValueError: a player is unknown or missing.
    """
    for name in players:
        if name not in owners:
            raise ValueError(f"this family has no player {near_names(name, owners)}")
    missing = sorted(owners.keys() - players.keys())
    if missing:
        raise ValueError(f"no losses and optimizer given for the players {missing}")
    return {name: Player(owns, *players[name]) for name, owns in owners.items()}


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
    losses_fn: Callable[..., tuple[Losses, Any]], players: Mapping[str, Player]
) -> Callable[..., tuple[Params, Losses, Any]]:
    """One `jax.grad` per player over the groups it owns, as one gradient tree.

    The players move simultaneously. Each gradient repeats the same forward pass, which the
    compiler merges into one, except inside loops and behind them; random draws, which are loops on
    CPU, are therefore made beforehand. What all are told of, losses and aux, comes from one pass
    alone, the first: of the others remains what their own gradient needs.

    Args:
      losses_fn: `(params, *args) -> (losses, aux)`.
      players: who minimises what.

    Returns:
      `(params, step, *args) -> (gradient, losses, aux)`; the gradient has the structure of
      `params`.
    """

    def gradient(params: Params, step: jax.Array, *args: Any) -> tuple[Params, Losses, Any]:
        grads: Params = {}
        found: list[tuple[Losses, Any]] = []
        one = hoisted(losses_fn, params, *args)
        for player in players.values():

            def loss(owned: Params, player: Player = player) -> tuple[jax.Array, Any]:
                losses, aux = one({**params, **owned})
                return objective(player.minimizes, losses, step), (losses, aux)

            owned = {group: params[group] for group in player.owns}
            owned_grads, told = jax.grad(loss, has_aux=True)(owned)
            found.append(told)
            grads.update(owned_grads)
        losses, aux = found[0]
        return {group: grads[group] for group in params}, losses, aux

    return gradient


def owner_labels(players: Mapping[str, Player]) -> dict[str, str]:
    """Parameter group -> the name of the player who owns it.

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
    whole = optax.partition({name: p.tx for name, p in players.items()}, owner_labels(players))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        # optax counts steps in int32 and mixes them with floats: not strict about promotion.
        with jax.numpy_dtype_promotion("standard"):
            return whole.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(whole.init, update)


def init(family: Family, key: jax.Array, batch: Batch) -> Params:
    """Parameters of the model and of the losses' own networks, after checking the table.

    Raises:
      ValueError: a group without an owner or with two, a player of an unknown group, or a weight
        on a loss that the chain does not make.
    """
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
    for name, player_ in family.players.items():
        for loss in player_.minimizes:
            if loss not in losses:
                raise ValueError(
                    f"player {name!r} minimises an unknown loss {near_names(loss, losses)}"
                )
    return params


def losses_and_trace(
    family: Family, *, training: bool = True
) -> Callable[..., tuple[Losses, Trace]]:
    """`(params, batch, key, step) -> (losses, trace)`: the forward pass and every named loss.

    Outside of `training` only the losses know the step: what they anneal stands where it stood.
    """

    def losses_fn(
        params: Params, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[Losses, Trace]:
        forward_key, losses_key = jax.random.split(key)
        trace = family.model.forward(params, batch, forward_key, step if training else None)
        trace = trace._replace(step=step)
        return family.losses.apply({}, params, trace, losses_key), trace

    return losses_fn
