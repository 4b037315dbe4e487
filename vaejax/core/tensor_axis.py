"""The mesh inside a computation: codebooks whose codes lie on several devices, and noise.

Matrix products are spread over the axis by the compiler, from the sharding of their parameters. A
search for the nearest code, a sum over the tokens of a code and a lookup it would do by gathering
the codebook; `TensorAxis.map` runs them on each device's part instead.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vaejax.core.types import PyTree

__all__ = [
    "TENSOR",
    "TensorAxis",
    "devices_of_examples",
    "over_examples",
    "tensor_axis",
    "using_mesh",
]

TENSOR = "tensor"

_mesh: ContextVar[Mesh | None] = ContextVar("mesh", default=None)


class TensorAxis(NamedTuple):
    """The devices along the axis `tensor` of a mesh."""

    mesh: Mesh
    size: int

    def map(
        self,
        f: Callable[..., jax.Array],
        parts: Sequence[jax.Array],
        *whole: jax.Array,
        result_axis: int | None = None,
    ) -> jax.Array:
        """`f(*parts, number, *whole)` on each device.

        Other axes of the mesh stay with the compiler.

        Args:
          f: gets a device's share of each of `parts`, the number of the device as int32 `[]`, and
            the arrays `whole`.
          parts: split over the axis along their first dimension.
          *whole: not split.
          result_axis: along which the results of the devices are joined; None if they are equal.
        """
        first, everywhere = PartitionSpec(TENSOR), PartitionSpec()
        result = everywhere if result_axis is None else PartitionSpec(*[None] * result_axis, TENSOR)

        def on_device(number: jax.Array, *arrays: jax.Array) -> jax.Array:
            return f(*arrays[: len(parts)], number[0], *arrays[len(parts) :])

        mapped: jax.Array = jax.shard_map(
            on_device,
            mesh=self.mesh,
            in_specs=(first, *[first] * len(parts), *[everywhere] * len(whole)),
            out_specs=result,
            axis_names={TENSOR},
            check_vma=False,
        )(jnp.arange(self.size, dtype=jnp.int32), *parts, *whole)
        return mapped

    def sum_over_rows(
        self, f: Callable[..., jax.Array], *rows: jax.Array, result_axis: int
    ) -> jax.Array:
        """As `map` of `f(number, *rows)`, whose result is a sum over the rows.

        Every device sums its own rows, and the sums are added: without this the compiler gathers
        the rows.

        Args:
          f: see `map`.
          *rows: arrays with the same leading dimension, which is spread over the other axes.
          result_axis: see `map`.
        """
        others = tuple(name for name in self.mesh.axis_names if name != TENSOR)
        if len(rows[0]) % (self.mesh.size // self.size):
            return self.map(f, [], *rows, result_axis=result_axis)

        def on_device(number: jax.Array, *arrays: jax.Array) -> jax.Array:
            total: jax.Array = jax.lax.psum(f(number[0], *arrays), others)
            return total

        summed: jax.Array = jax.shard_map(
            on_device,
            mesh=self.mesh,
            in_specs=(PartitionSpec(TENSOR), *[PartitionSpec(others)] * len(rows)),
            out_specs=PartitionSpec(*[None] * result_axis, TENSOR),
            check_vma=False,
        )(jnp.arange(self.size, dtype=jnp.int32), *rows)
        return summed

    def minimum(self, x: jax.Array) -> jax.Array:
        """The elementwise minimum of the devices' arrays."""
        result: jax.Array = jax.lax.pmin(x, TENSOR)
        return result

    def sum(self, x: jax.Array) -> jax.Array:
        """The elementwise sum of the devices' arrays."""
        result: jax.Array = jax.lax.psum(x, TENSOR)
        return result


@contextmanager
def using_mesh(mesh: Mesh) -> Iterator[None]:
    """Spreads codebooks and noise over the devices of a mesh in what is traced inside."""
    token = _mesh.set(mesh if mesh.size > 1 else None)
    try:
        yield
    finally:
        _mesh.reset(token)


def over_examples(tree: PyTree) -> PyTree:
    """Arrays `[B, ...]` spread over the devices like the examples of a batch.

    The compiler follows the examples of a batch through a model. What a model computes from noise
    alone it would compute as a whole on every device.
    """
    mesh = _mesh.get()
    if mesh is None:
        return tree
    axes, devices = _example_axes(mesh)
    spread = NamedSharding(mesh, PartitionSpec(axes))

    def constrained(x: jax.Array) -> jax.Array:
        return x if len(x) % devices else jax.lax.with_sharding_constraint(x, spread)

    return jax.tree.map(constrained, tree)


def devices_of_examples(n: int) -> int:
    """The number of devices that n examples are spread over; 1 if they cannot be divided."""
    mesh = _mesh.get()
    devices = 1 if mesh is None else _example_axes(mesh)[1]
    return 1 if n % devices else devices


def _example_axes(mesh: Mesh) -> tuple[tuple[str, ...], int]:
    """The axes that the examples of a batch are spread over, and the number of their devices."""
    axes = tuple(name for name in mesh.axis_names if name != TENSOR)
    return axes, mesh.size // mesh.shape.get(TENSOR, 1)


def tensor_axis(codes: int) -> TensorAxis | None:
    """The axis that a codebook is spread over; None without one, or if it cannot be divided."""
    mesh = _mesh.get()
    if mesh is None or mesh.shape.get(TENSOR, 1) == 1 or codes % mesh.shape[TENSOR]:
        return None
    return TensorAxis(mesh, mesh.shape[TENSOR])
