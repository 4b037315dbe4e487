"""Who takes part in which case."""

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

OURS = "vaejax"


class Way(NamedTuple):
    """How one competitor is started, in a process of its own.

    Attributes:
      room: module of this package.
      start: function of it, `(case, **options) -> (go, parameters)`.
      options: of it.
      environment: variables of its process.
      whose: "torch" for PyTorch's defaults, "tuned" for its options, "usual code" for what most
        publish, or the library's name.
    """

    room: str
    start: str
    options: dict[str, Any]
    environment: dict[str, str]
    whose: str

    def __call__(self, case: str) -> tuple[Callable[[int], None], int]:
        module = importlib.import_module(f"benchmarks.peers.{self.room}")
        return functools.partial(getattr(module, self.start), **self.options)(case)


def _torch(whose: str, start: str = "trains", **options: Any) -> Way:
    return Way("torch_ways", start, options, {}, whose)


def _ours(start: str = "trains", devices: int = 1) -> Way:
    environment = {"JAX_NUM_CPU_DEVICES": str(devices)} if devices > 1 else {}
    return Way("ours", start, {}, environment, OURS if devices == 1 else "vaejax, tuned")


_TRAINING = {
    OURS: _ours(),
    "eager": _torch("torch"),
    "compiled": _torch("torch", compiles=True),
    "eager, fused Adam": _torch("tuned", fused=True),
    "compiled, fused Adam": _torch("tuned", compiles=True, fused=True),
}
_IMAGES = {
    **_TRAINING,
    "vaejax, a device for each core": _ours(devices=2),
    "eager, fused, channels last": _torch("tuned", channels_last=True, fused=True),
    "compiled, fused, channels last": _torch(
        "tuned", channels_last=True, compiles=True, fused=True
    ),
}
_PYTHAE = {"pythae": Way("pythae_ways", "trains", {}, {}, "pythae")}
# Of a batch, pythae's FactorVAE shows its autoencoder one half and its critic the other as well.
_TWICE = {
    "pythae, twice the batch": Way("pythae_ways", "trains", {"times": 2}, {}, "pythae, doubled")
}

WAYS: dict[str, dict[str, Way]] = {
    "mlp": {**_TRAINING, **_PYTHAE},
    "small": {**_TRAINING, **_PYTHAE},
    "tiny": {**_TRAINING, **_PYTHAE},
    "conv": {**_IMAGES, **_PYTHAE},
    "factor": {**_IMAGES, **_PYTHAE, **_TWICE},
    "vqvae": {**_IMAGES, **_PYTHAE},
    "td_vae": _TRAINING,
    "lvae": _TRAINING,
    "quantizer": {
        OURS: _ours("quantizes"),
        "by hand": _torch("torch", "quantizes"),
        "by hand, compiled": _torch("torch", "quantizes", compiles=True),
        "one-hot and cdist": _torch("usual code", "one_hot"),
        "vector-quantize-pytorch": _torch("vector-quantize-pytorch", "lucidrains"),
    },
    "search": {
        OURS: _ours("searches"),
        "512 at once": _torch("torch", "searches", chunk=512),
        "4,096 at once": _torch("torch", "searches", chunk=4096),
        "4,096 at once, compiled": _torch("torch", "searches", chunk=4096, compiles=True),
        "cdist": _torch("usual code", "cdist"),
    },
}
