"""What describes a class of checkpoints, and the options that its `config.json` may leave out."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import Json, Options
from vaejax.interop.folders import Tensors
from vaejax.interop.layouts import Tensor
from vaejax.networks import Pair

__all__ = ["Format", "fold_weight_norm", "refuse"]


class Format(NamedTuple):
    """A class of another library, and its parameters in the networks of this one.

    Attributes:
      name: of the class.
      library: that has it.
      stem: name of its file of tensors, without `.safetensors`.
      defaults: of the options in its config.
      networks: `(config, dtype) -> (encoder, decoder)`.
      layout: config -> all parameters.
      read: `(tensors, config) -> tensors` with the names of `layout`, from those of any version.
      write: `(tensors, config) -> tensors` with the names of the present version.
      shapes: config -> shapes of the parameters; None for an autoencoder of pictures.
    """

    name: str
    library: str
    stem: str
    defaults: Mapping[str, Json]
    networks: Callable[[Options, str], Pair]
    layout: Callable[[Options], list[Tensor]]
    read: Callable[[Tensors, Options], Tensors] = lambda tensors, config: tensors
    write: Callable[[Tensors, Options], Tensors] = lambda tensors, config: tensors
    shapes: Callable[[Options], Params] | None = None


def refuse(config: Options, name: str, *supported: Json) -> None:
    """Raises ValueError unless an option has one of the values that are supported."""
    if config[name] not in supported:
        known = " or ".join(map(repr, supported))
        raise ValueError(
            f"config.json says {name}={config[name]!r}, which is not supported: only {known}"
        )


def fold_weight_norm(tensors: Tensors) -> Tensors:
    """The tensors with every weight w = g v / ‖v‖ in place of g and v (1602.07868, eq. 2).

    The norm is over all axes but the first. The parts are named `weight_g` and `weight_v`, or
    `parametrizations.weight.original0` and `original1`.
    """
    folded = dict(tensors)
    for g, v in (
        ("weight_g", "weight_v"),
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ):
        for name in [name for name in tensors if name.endswith(f".{v}")]:
            base = name.removesuffix(v)
            direction, scale = folded.pop(name).astype(np.float64), folded.pop(base + g)
            axes = tuple(range(1, direction.ndim))
            length = np.sqrt(np.sum(np.square(direction), axis=axes, keepdims=True))
            folded[f"{base}weight"] = (direction * (scale / length)).astype(np.float32)
    return folded
