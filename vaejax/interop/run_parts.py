"""What of a run its checkpoint for another library is made from."""

import inspect
from collections.abc import Callable
from typing import Protocol

from vaejax.core.game import Params
from vaejax.core.types import Json, Options, Setting
from vaejax.networks import ARCHITECTURES

__all__ = ["TrainedRun", "network_kind", "network_options", "plain_params", "settings"]

_MEAN_LIKELIHOODS = ("laplace", "normal")  # whose decoder gives the event itself


class TrainedRun(Protocol):
    """What is read of a run from `vaejax.load_run`."""

    config: Options
    params: Params


def settings(setting: Setting) -> dict[str, Json]:
    """A setting of a config as a dict with its `kind`."""
    return {"kind": setting} if isinstance(setting, str) else dict(setting)


def network_kind(run: TrainedRun) -> str:
    """The name of a run's architecture."""
    return str(settings(run.config["model"].get("network", "")).get("kind"))


def network_options(run: TrainedRun) -> dict[str, Json]:
    """The options of a run's architecture, with their defaults."""
    setting = settings(run.config["model"]["network"])
    function: Callable[..., object] = ARCHITECTURES[setting.pop("kind")]
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty} | setting


def plain_params(run: TrainedRun) -> Params:
    """The encoder and the decoder of a run whose decoder gives events themselves.

    Raises:
      ValueError: its likelihood is another, or the networks have a condition.
    """
    likelihood = settings(run.config["model"].get("likelihood", "normal"))
    if likelihood["kind"] not in _MEAN_LIKELIHOODS or likelihood.get("scale") == "predicted":
        raise ValueError(
            f"the decoder of a run with the likelihood {likelihood['kind']!r} does not give events "
            f"themselves; {' and '.join(map(repr, _MEAN_LIKELIHOODS))} with a fixed or learned "
            "scale do"
        )
    params = {group: run.params[group] for group in ("encoder", "decoder")}
    if "network" in params["decoder"]:  # beside the learned scale
        params["decoder"] = params["decoder"]["network"]
    inputs, outputs = (
        params[half][layer]["kernel"].shape
        for half, layer in (("encoder", "conv_in"), ("decoder", "conv_out"))
    )
    if inputs[-2] != outputs[-1]:
        raise ValueError("a conditional run has no counterpart in other libraries")
    return params
