"""Checks of the players of a config, which make nothing and need no data."""

import inspect
from collections.abc import Callable, Mapping, Sequence

from vaejax.core.arguments import check_arguments, near_names
from vaejax.core.fields import ANY, check_value
from vaejax.core.option_ranges import range_of_option
from vaejax.core.schedules import check_schedule
from vaejax.core.types import Options
from vaejax.optimizers.build import OPTIMIZERS, WITHOUT_LOSSES, optimizer
from vaejax.optimizers.freeze_when_ahead import freeze_when_ahead
from vaejax.optimizers.reduce_on_plateau import reduce_on_plateau
from vaejax.optimizers.skip_large_gradients import skip_large

__all__ = ["check_players"]

_OWN = (
    "clip_norm",
    "freeze",
    "node",
    "reduce_on_plateau",
    "revive_below",
    "skip",
)  # of every optimizer


def check_players(settings: Mapping[str, Options]) -> None:
    """Checks the section `players`: weights, schedules, optimizers and their options.

    Args:
      settings: player -> `{"minimizes": {...}, "optimizer": name, ...}`.

    Raises:
      ValueError: a setting is unknown, missing, of another type or out of its range.
    """
    for name, setting in settings.items():
        path = f"players.{name}"
        check_value(path, setting, Options, range_of_option(optimizer, ""))
        kind = setting.get("optimizer", "adam")
        if kind not in WITHOUT_LOSSES or setting.get("minimizes"):
            _check_minimizes(f"{path}.minimizes", setting.get("minimizes"))
        check_value(f"{path}.owns", setting.get("owns", ()), Sequence[str], ANY)
        if not isinstance(kind, str) or kind not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {near_names(str(kind), OPTIMIZERS)}")
        options = {k: v for k, v in setting.items() if k not in ("minimizes", "optimizer", "owns")}
        _check_optimizer(path, kind, options)


def _check_minimizes(path: str, weights: Options | None) -> None:
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(
            f"{path} must name at least one loss with its weight, as in "
            f'{{"nll": 1.0, "kl": 1.0}}, found {weights!r}'
        )
    for loss, weight in weights.items():
        check_schedule(f"{path}.{loss}", weight)


def _check_optimizer(path: str, kind: str, options: Options) -> None:
    own = {k: v for k, v in options.items() if k in _OWN}
    others = {k: v for k, v in options.items() if k not in _OWN}
    what = f"optimizer {kind!r}"
    check_arguments(optimizer, what, f"{path}.", own, positional=1)
    wrappers: dict[str, tuple[Callable[..., object], int]] = {
        "freeze": (freeze_when_ahead, 1),
        "skip": (skip_large, 1),
        "reduce_on_plateau": (reduce_on_plateau, 2),
    }
    for name, (function, positional) in wrappers.items():
        if isinstance(own.get(name), Mapping):
            inner = f"{path}.{name}"
            check_arguments(function, inner, f"{inner}.", own[name], positional=positional)
    if own.get("reduce_on_plateau") is not None:
        _check_plateau(path, kind, own["reduce_on_plateau"])
    if "learning_rate" in others:
        limits = range_of_option(OPTIMIZERS[kind], "learning_rate")
        check_schedule(f"{path}.learning_rate", others["learning_rate"], limits)
    parameters = check_arguments(OPTIMIZERS[kind], what, f"{path}.", others)
    required = [p.name for p in parameters.values() if p.default is p.empty]
    if missing := [name for name in required if name not in others]:
        raise ValueError(f"{path}: {what} lacks the settings {missing}")


def _check_plateau(path: str, kind: str, setting: Options) -> None:
    """Raises ValueError if a learning rate cannot be lowered as a setting says."""
    if "learning_rate" not in inspect.signature(OPTIMIZERS[kind]).parameters or kind == "freeze":
        raise ValueError(f"{path}.reduce_on_plateau: optimizer {kind!r} has no learning rate")
    factor = setting.get("factor", 0.5)
    if isinstance(factor, int | float) and not 0 < factor < 1:
        raise ValueError(f"{path}.reduce_on_plateau.factor must be between 0 and 1, found {factor}")
    if setting.get("rtol", 1e-4) == 0 and setting.get("atol", 0) == 0:
        raise ValueError(f"{path}.reduce_on_plateau needs rtol or atol above 0")
