"""Quantizers: tokens -> codes, as small modules that compose; `bottleneck` puts one in a model."""

from collections.abc import Callable, Mapping
from typing import Any

from vaejax.core.registry import make
from vaejax.quantizers.codebook import sim_vq, vector
from vaejax.quantizers.compose import grouped, residual
from vaejax.quantizers.gumbel import gumbel_softmax
from vaejax.quantizers.lattice import finite_scalar, lookup_free
from vaejax.quantizers.quantizer import (
    ESTIMATORS,
    Quantizer,
    bottleneck,
    rotation,
    straight_through,
)

QUANTIZERS: dict[str, Callable[..., Quantizer]] = {
    "finite_scalar": finite_scalar,
    "grouped": grouped,
    "gumbel_softmax": gumbel_softmax,
    "lookup_free": lookup_free,
    "residual": residual,
    "sim_vq": sim_vq,
    "vector": vector,
}


def build(setting: str | Mapping[str, Any] | Quantizer) -> Quantizer:
    """A quantizer from its name, from `{"kind": name, **arguments}`, or given as it is.

    The `quantizer` among the arguments of `grouped` and `residual` is again a setting.

    Raises:
      ValueError: the kind is unknown or its arguments do not fit.
    """
    if isinstance(setting, Quantizer):
        return setting
    if isinstance(setting, Mapping) and "quantizer" in setting:
        setting = {**setting, "quantizer": build(setting["quantizer"])}
    return make(QUANTIZERS, setting, "quantizer")


__all__ = [
    "ESTIMATORS",
    "QUANTIZERS",
    "Quantizer",
    "bottleneck",
    "build",
    "finite_scalar",
    "grouped",
    "gumbel_softmax",
    "lookup_free",
    "residual",
    "rotation",
    "sim_vq",
    "straight_through",
    "vector",
]
