"""Players from their settings: what they minimise, and the optax optimizer they move by."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vaejax.core.game import Weight
from vaejax.core.registry import call, is_off, near_names
from vaejax.core.schedules import schedule
from vaejax.optimizers.em_updates import residual_variance
from vaejax.optimizers.ema_codebook import ema_codebook, revive_codes
from vaejax.optimizers.freeze_when_ahead import freeze_when_ahead
from vaejax.optimizers.skip_large_gradients import skip_large

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": optax.adam,
    "adamax": optax.adamax,
    "adamw": optax.adamw,
    "rmsprop": optax.rmsprop,
    "sgd": optax.sgd,
    "ema_codebook": ema_codebook,
    "residual_variance": residual_variance,
}


def optimizer(
    name: str,
    *,
    clip_norm: float = 0.0,
    revive_below: float = 0.0,
    level: int = 0,
    freeze: Mapping[str, Any] | None = None,
    skip: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> optax.GradientTransformation:
    """An optax optimizer by name.

    Args:
      name: of the optimizer.
      clip_norm: bound on the norm of the player's whole gradient; 0 for none.
      revive_below: for the owner of a codebook: revive codes used less than this fraction of the
        average code (see `codebooks`); 0 for never.
      level: for the owner of a codebook: which node of the trace holds its codes.
      freeze: arguments of `balance.freeze_when_ahead`, such as `{"when": "low"}` for a critic that
        waits while it is too far ahead; None for a player that always moves.
      skip: arguments of `skipping.skip_large`, such as `{"above": 400.0}`, for steps of a larger
        gradient to be left out; None for none.
      **arguments: of the optimizer; `learning_rate` may be a schedule's settings.

    Raises:
      ValueError: an unknown name or argument.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {near_names(name, OPTIMIZERS)}")
    if "learning_rate" in arguments:
        arguments["learning_rate"] = schedule(arguments["learning_rate"])
    own: dict[str, Any] = {"revive_below": revive_below, "level": level}
    if freeze is not None:
        inner = optimizer(name, clip_norm=clip_norm, skip=skip, **own, **arguments)
        return call(freeze_when_ahead, "the player's 'freeze'", inner, **freeze)
    if skip is not None:
        inner = optimizer(name, clip_norm=clip_norm, **own, **arguments)
        return call(skip_large, "the player's 'skip'", inner, **skip)
    if name == "ema_codebook":
        return call(ema_codebook, f"optimizer {name!r}", **own, **arguments)
    parts = [call(OPTIMIZERS[name], f"optimizer {name!r}", **arguments)]
    if not is_off(clip_norm):
        bound: Any = clip_norm
        if isinstance(clip_norm, jax.Array):  # of many models, some may have none
            bound = jnp.where(clip_norm > 0, clip_norm, jnp.inf)
        parts.insert(0, optax.clip_by_global_norm(bound))
    if not is_off(revive_below):
        parts.append(revive_codes(revive_below, level=level))
    return optax.chain(*parts)


def players(
    settings: Mapping[str, Mapping[str, Any]],
) -> dict[str, tuple[dict[str, Weight], optax.GradientTransformation]]:
    """Player name -> (weights, optimizer), from `{"minimizes": {...}, "optimizer": name, ...}`."""
    table = {}
    for name, row in settings.items():
        arguments = dict(row)
        weights = {k: schedule(v) for k, v in arguments.pop("minimizes").items()}
        table[name] = weights, optimizer(arguments.pop("optimizer", "adam"), **arguments)
    return table
