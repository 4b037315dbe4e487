"""Quantizers: pure functions from tokens to codes, which compose.

`bottleneck` makes a quantizer the bottleneck of a model; `build` reads one from a config.
"""

from collections.abc import Callable, Mapping

from vaejax.core.registry import make, table
from vaejax.core.types import Options
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

QUANTIZERS: Mapping[str, Callable[..., Quantizer]] = table(
    "quantizer",
    {
        "finite_scalar": finite_scalar,
        "grouped": grouped,
        "gumbel_softmax": gumbel_softmax,
        "lookup_free": lookup_free,
        "residual": residual,
        "sim_vq": sim_vq,
        "vector": vector,
    },
)


def build(setting: str | Options | Quantizer) -> Quantizer:
    """A quantizer from its name or from `{"kind": name, **arguments}`.

    The argument `quantizer` of `grouped` and `residual` is again a setting. A `Quantizer` is
    returned unchanged.

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
