"""The competitors of each case."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["COMPETITORS", "VAEJAX", "Competitor"]

VAEJAX = "vaejax"


class Competitor(NamedTuple):
    """A competitor, which runs in a process of its own.

    Attributes:
      module: of this package.
      function: of the module, `(case, **options) -> (take_steps, number of parameters)`.
      options: of the function.
      environment: variables of the process.
      group: "torch" for PyTorch with default options, "tuned" for PyTorch with others, "usual
        code" for typical published code, or the library's name.
    """

    module: str
    function: str
    options: dict[str, Any]
    environment: dict[str, str]
    group: str

    def start(self, case: str) -> tuple[Callable[[int], None], int]:
        """A function that takes a number of steps, and the number of parameters."""
        module = importlib.import_module(f".{self.module}", __package__)
        return getattr(module, self.function)(case, **self.options)


def _torch(group: str, function: str = "train", **options: Any) -> Competitor:
    return Competitor("torch_training", function, options, {}, group)


def _vaejax(function: str = "train", devices: int = 1) -> Competitor:
    environment = {"JAX_NUM_CPU_DEVICES": str(devices)} if devices > 1 else {}
    group = VAEJAX if devices == 1 else "vaejax, tuned"
    return Competitor("vaejax_training", function, {}, environment, group)


def _pythae(group: str, **options: Any) -> Competitor:
    return Competitor("pythae_training", "train", options, {}, group)


_TRAINING = {
    VAEJAX: _vaejax(),
    "eager": _torch("torch"),
    "compiled": _torch("torch", compiles=True),
    "eager, fused Adam": _torch("tuned", fused=True),
    "compiled, fused Adam": _torch("tuned", compiles=True, fused=True),
}
_IMAGES = {
    **_TRAINING,
    "vaejax, a device for each core": _vaejax(devices=2),
    "eager, fused, channels last": _torch("tuned", channels_last=True, fused=True),
    "compiled, fused, channels last": _torch(
        "tuned", channels_last=True, compiles=True, fused=True
    ),
}
_FEW = (VAEJAX, "eager", "compiled", "eager, fused, channels last")
_PYTHAE = {"pythae": _pythae("pythae")}
# The autoencoder of pythae's FactorVAE learns from one half of a batch only.
_DOUBLED = {"pythae, twice the batch": _pythae("pythae, doubled", times=2)}

COMPETITORS: dict[str, dict[str, Competitor]] = {
    "mlp": {**_TRAINING, **_PYTHAE},
    "small": {**_TRAINING, **_PYTHAE},
    "tiny": {**_TRAINING, **_PYTHAE},
    "conv": {**_IMAGES, **_PYTHAE},
    "factor": {**_IMAGES, **_PYTHAE, **_DOUBLED},
    "vqvae": {**_IMAGES, **_PYTHAE},
    # Large programs, whose compilation takes PyTorch minutes: fewer ways.
    "kl": {way: _IMAGES[way] for way in _IMAGES if way in _FEW},
    "td_vae": _TRAINING,
    "lvae": _TRAINING,
    "quantizer": {
        VAEJAX: _vaejax("quantize"),
        "by hand": _torch("torch", "quantize"),
        "by hand, compiled": _torch("torch", "quantize", compiles=True),
        "one-hot and cdist": _torch("usual code", "one_hot"),
        "vector-quantize-pytorch": _torch("vector-quantize-pytorch", "lucidrains"),
    },
    "search": {
        VAEJAX: _vaejax("search"),
        "512 at once": _torch("torch", "search", chunk=512),
        "4,096 at once": _torch("torch", "search", chunk=4096),
        "4,096 at once, compiled": _torch("torch", "search", chunk=4096, compiles=True),
        "cdist": _torch("usual code", "cdist"),
    },
}
