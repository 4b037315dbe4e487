"""The players of a config: the weights of their losses, and their optimizers."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vaejax.core.game import PlayerRow, objective
from vaejax.core.registry import call, is_off, near_names, table
from vaejax.core.schedules import schedule
from vaejax.core.types import Options
from vaejax.optimizers import reduce_on_plateau as plateaus
from vaejax.optimizers.em_updates import residual_variance
from vaejax.optimizers.ema_codebook import ema_codebook, revive_codes
from vaejax.optimizers.freeze import freeze as freeze_player
from vaejax.optimizers.freeze_when_ahead import freeze_when_ahead
from vaejax.optimizers.moving_average import moving_average
from vaejax.optimizers.skip_large_gradients import skip_large

__all__ = ["OPTIMIZERS", "WITHOUT_LOSSES", "optimizer", "players"]

WITHOUT_LOSSES = ("freeze", "moving_average")  # optimizers that use no gradient

OPTIMIZERS: Mapping[str, Callable[..., optax.GradientTransformation]] = table(
    "optimizer",
    {
        "adam": optax.adam,
        "adamax": optax.adamax,
        "adamw": optax.adamw,
        "rmsprop": optax.rmsprop,
        "sgd": optax.sgd,
        "ema_codebook": ema_codebook,
        "freeze": freeze_player,
        "moving_average": moving_average,
        "residual_variance": residual_variance,
    },
)


def optimizer(
    name: str,
    *,
    clip_norm: float = 0.0,
    revive_below: float = 0.0,
    node: int = 0,
    freeze: Options | None = None,
    skip: Options | None = None,
    reduce_on_plateau: Options | None = None,
    objective: Callable[..., jax.Array] | None = None,
    **arguments: Any,
) -> optax.GradientTransformation:
    """An optax optimizer by name.

    Args:
      name: of the optimizer, one of `OPTIMIZERS`.
      clip_norm: maximum norm of the player's whole gradient; 0 for no clipping.
      revive_below: for the owner of a codebook: codes used less than this fraction of the average
        code are replaced (see `ema_codebook.revive_codes`); 0 for never.
      node: for the owner of a codebook: number of the node of the trace that holds its codes.
      freeze: arguments of `freeze_when_ahead`, such as `{"when": "low"}` for a discriminator that
        is not updated while it is too far ahead; None for no freezing.
      skip: arguments of `skip_large`, such as `{"above": 400.0}` to skip steps with a larger
        gradient norm; None for no skipping.
      reduce_on_plateau: arguments of `reduce_on_plateau`, such as `{"patience": 5}` to halve the
        learning rate after five evaluations without an improvement; None for never.
      objective: `(losses, step) -> scalar` of the player, which `reduce_on_plateau` may use.
      **arguments: of the optimizer; `learning_rate` may be the settings of a schedule.

    Raises:
      ValueError: an unknown name or argument.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {near_names(name, OPTIMIZERS)}")
    if "learning_rate" in arguments:
        arguments["learning_rate"] = schedule(arguments["learning_rate"])
    codebook: Options = {"revive_below": revive_below, "node": node}
    if reduce_on_plateau is not None:
        inner = optimizer(
            name, clip_norm=clip_norm, freeze=freeze, skip=skip, **codebook, **arguments
        )
        what = "the player's 'reduce_on_plateau'"
        return call(plateaus.reduce_on_plateau, what, inner, objective, **reduce_on_plateau)
    if freeze is not None:
        inner = optimizer(name, clip_norm=clip_norm, skip=skip, **codebook, **arguments)
        return call(freeze_when_ahead, "the player's 'freeze'", inner, **freeze)
    if skip is not None:
        inner = optimizer(name, clip_norm=clip_norm, **codebook, **arguments)
        return call(skip_large, "the player's 'skip'", inner, **skip)
    if name == "ema_codebook":
        return call(ema_codebook, f"optimizer {name!r}", **codebook, **arguments)
    parts = [call(OPTIMIZERS[name], f"optimizer {name!r}", **arguments)]
    if not is_off(clip_norm):
        bound = clip_norm
        if isinstance(clip_norm, jax.Array):  # in a sweep some models may have 0
            bound = jnp.where(clip_norm > 0, clip_norm, jnp.inf)
        parts.insert(0, optax.clip_by_global_norm(bound))
    if not is_off(revive_below):
        parts.append(revive_codes(revive_below, node=node))
    return optax.chain(*parts)


def players(settings: Mapping[str, Options]) -> dict[str, PlayerRow]:
    """Player -> (loss weights, optimizer, groups), from the section `players` of a config.

    The groups are those of a further player, `()` for the family's own.

    Args:
      settings: player -> `{"minimizes": {...}, "optimizer": name, "owns": groups, ...}`.
    """
    rows: dict[str, PlayerRow] = {}
    for name, setting in settings.items():
        arguments = dict(setting)
        owns = tuple(arguments.pop("owns", ()))
        frozen = arguments.get("optimizer") in WITHOUT_LOSSES
        losses = arguments.pop("minimizes", {})
        weights = {} if frozen else {k: schedule(v) for k, v in losses.items()}
        if arguments.get("reduce_on_plateau") is not None:
            arguments["objective"] = functools.partial(objective, weights)
        rows[name] = weights, optimizer(arguments.pop("optimizer", "adam"), **arguments), owns
    return rows
