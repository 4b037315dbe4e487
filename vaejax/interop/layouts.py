"""Layouts of parameters: from the tensors of PyTorch modules to nested dicts, and back."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import PyTree
from vaejax.interop.folders import Tensors

__all__ = ["Tensor", "conv", "linear", "norm", "to_params", "to_tensors"]


class Tensor(NamedTuple):
    """One array: its path in the parameters, its name in the checkpoint, and how it is stored.

    Attributes:
      path: such as `encoder/conv_in/kernel`.
      name: such as `encoder.conv_in.weight`.
      kind: one of `_KINDS`.
    """

    path: str
    name: str
    kind: str


# Kind -> (from the checkpoint, to the checkpoint).
_KINDS: Mapping[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "plain": (np.asarray, np.asarray),
    # [O, C, kh, kw] and [kh, kw, C, O]
    "conv2d": (lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1)),
    # [O, C, k] and [k, C, O]
    "conv1d": (lambda a: a.transpose(2, 1, 0), lambda a: a.transpose(2, 1, 0)),
    # [C, O, k] and [k, C, O]
    "transposed": (lambda a: a.transpose(2, 0, 1), lambda a: a.transpose(1, 2, 0)),
    # [O, C], or that of a convolution of size 1, and [C, O]
    "linear": (lambda a: a.reshape(a.shape[:2]).T, lambda a: a.T),
    # [O, C, 1] and [C, O]
    "pointwise": (lambda a: a.reshape(a.shape[:2]).T, lambda a: a.T[..., None]),
    # [1, C, 1] and [C]
    "channels": (lambda a: a.reshape(-1), lambda a: a.reshape(1, -1, 1)),
}
_NUM_AXES = {"conv2d": (4,), "conv1d": (3,), "transposed": (3,), "linear": (2, 3, 4),
             "pointwise": (2, 3), "channels": (1, 3)}  # fmt: skip


def conv(path: str, name: str, kind: str = "conv2d", *, bias: bool = True) -> list[Tensor]:
    """A convolution."""
    kernel = [Tensor(f"{path}/kernel", f"{name}.weight", kind)]
    return kernel + ([Tensor(f"{path}/bias", f"{name}.bias", "plain")] if bias else [])


def linear(path: str, name: str) -> list[Tensor]:
    """A dense layer."""
    return conv(path, name, "linear")


def norm(path: str, name: str, bias: str = "bias") -> list[Tensor]:
    """A norm with scale and bias."""
    return [
        Tensor(f"{path}/scale", f"{name}.weight", "plain"),
        Tensor(f"{path}/{bias}", f"{name}.bias", "plain"),
    ]


def _flat(tree: PyTree, path: str = "") -> dict[str, PyTree]:
    if not isinstance(tree, Mapping):
        return {path: tree}
    flat: dict[str, PyTree] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{path}/{name}" if path else str(name))
    return flat


def to_params(layout: Iterable[Tensor], tensors: Tensors, shapes: Params, where: str) -> Params:
    """Parameters from the tensors of a checkpoint.

    Args:
      layout: of all parameters.
      tensors: by name.
      shapes: of the parameters.
      where: the folder, for errors.

    Raises:
      ValueError: a tensor is missing, has another shape than `config.json` says, or is superfluous.
    """
    expected, left = _flat(shapes), dict(tensors)
    params: Params = {}
    for path, name, kind in layout:
        if name not in left:
            raise ValueError(
                f"{where} has no tensor {name!r}, which its config.json asks for: download the "
                "config.json and the safetensors file of the same checkpoint"
            )
        tensor = left.pop(name)
        fits = tensor.ndim in _NUM_AXES.get(kind, (tensor.ndim,))
        array = _KINDS[kind][0](tensor) if fits else tensor
        if array.shape != tuple(expected[path].shape):
            shape = _KINDS[kind][1](np.empty(expected[path].shape, np.float32)).shape
            raise ValueError(
                f"the tensor {name!r} in {where} has the shape {list(tensor.shape)}, but by its "
                f"config.json {list(shape)}: download both files of the same checkpoint"
            )
        *groups, last = path.split("/")
        parent = params
        for group in groups:
            parent = parent.setdefault(group, {})
        parent[last] = np.ascontiguousarray(array, np.float32)
    if left:
        raise ValueError(
            f"{where} has {len(left)} tensors that its config.json has no place for, such as "
            f"{min(left)!r}: download both files of the same checkpoint"
        )
    return params


def to_tensors(layout: Iterable[Tensor], params: Params) -> Tensors:
    """The tensors of a checkpoint from parameters, in float32."""
    flat = _flat(params)
    return {
        name: np.ascontiguousarray(_KINDS[kind][1](np.asarray(flat[path], np.float32)))
        for path, name, kind in layout
    }
