"""A function as a program for all platforms, with its inputs and outputs described."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import export as jax_export

from vaejax.core.types import PyTree

__all__ = ["PLATFORMS", "Program", "describe", "export_program"]

PLATFORMS = ("cpu", "cuda", "tpu")
_SHAPE_ERRORS = (  # what tracing with a symbolic batch size raises
    ValueError,
    TypeError,
    NotImplementedError,
    jax.errors.InconclusiveDimensionOperation,
)


class Program(NamedTuple):
    """A function `(*inputs) -> outputs` that contains its parameters.

    Attributes:
      exported: with the symbolic batch size b.
      inputs: name, shape and dtype of each; the batch size is `'b'`.
      outputs: name, shape, dtype and meaning of each.
    """

    exported: jax_export.Exported
    inputs: list[dict[str, object]]
    outputs: list[dict[str, object]]


def describe(name: str, spec: PyTree) -> dict[str, object]:
    """An input or output in `export.json`."""
    return {"name": name, "shape": ["b", *spec.shape[1:]], "dtype": str(spec.dtype)}


def export_program(
    what: str, function: Callable[..., PyTree], specs: list[PyTree]
) -> jax_export.Exported:
    """A function for all platforms, with a symbolic batch size.

    Raises:
      ValueError: it cannot be exported so.
    """
    try:
        return jax_export.export(jax.jit(function), platforms=PLATFORMS)(*specs)
    except _SHAPE_ERRORS as error:
        raise ValueError(
            f"the {what} cannot be exported with a symbolic batch size: {error}"
        ) from error
