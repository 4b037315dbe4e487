"""Where arrays live: a mesh with an axis for data and one for fully sharded parameters."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA, FSDP = "data", "fsdp"
_SMALL = 2**12  # elements; below, a copy on every device is cheaper than gathering


def make_mesh(data: int = -1, fsdp: int = 1) -> Mesh:
    """A mesh of `data` × `fsdp` devices.

    Args:
      data: devices along the data axis; -1 takes all that `fsdp` leaves.
      fsdp: devices that share one copy of the parameters.

    Raises:
      ValueError: there are not as many devices.
    """
    found = jax.device_count()
    if data == -1:
        data = max(found // max(fsdp, 1), 1)
    if data < 1 or fsdp < 1 or data * fsdp > found:
        raise ValueError(
            f"a mesh of data={data} × fsdp={fsdp} wants {data * fsdp} devices, found {found}; "
            "on CPU, JAX_NUM_CPU_DEVICES=8 in the environment makes 8 virtual ones"
        )
    devices = jax.devices()[: data * fsdp]
    auto = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((data, fsdp), (DATA, FSDP), axis_types=auto, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, leading: int = 0) -> NamedSharding:
    """Examples spread over all devices, along the axis after `leading` others."""
    return NamedSharding(mesh, PartitionSpec(*[None] * leading, (DATA, FSDP)))


def check_batch(mesh: Mesh, batch_size: int, accumulate: int = 1) -> None:
    """Raises ValueError unless every device gets as many examples of every micro-batch."""
    parts = mesh.size * accumulate
    if batch_size % parts:
        raise ValueError(
            f"train.batch_size={batch_size} is not divisible by {parts} (mesh of {mesh.size} "
            f"devices × train.accumulate={accumulate}); the nearest that is: "
            f"{max(round(batch_size / parts), 1) * parts}"
        )


def spec_of(
    path: str, shape: tuple[int, ...], fsdp: int, rules: Mapping[str, tuple[str | None, ...]]
) -> PartitionSpec:
    """How one array is spread over the axis `fsdp`.

    The largest dimension that the axis divides is split; small arrays are kept whole.

    Args:
      path: of the array, as `params/encoder/Dense_0/kernel`.
      shape: of the array.
      fsdp: size of the axis.
      rules: regular expression of paths -> one axis name or None per dimension; the first that is
        found in the path overrides the default.
    """
    for pattern, axes in rules.items():
        if re.search(pattern, path):
            return PartitionSpec(*axes)
    divisible = [d for d, n in enumerate(shape) if n % fsdp == 0]
    if fsdp == 1 or not divisible or math.prod(shape) < _SMALL:
        return PartitionSpec()
    largest = max(divisible, key=lambda d: shape[d])
    return PartitionSpec(*[FSDP if d == largest else None for d in range(len(shape))])


def tree_sharding(
    mesh: Mesh, tree: Any, rules: Mapping[str, tuple[str | None, ...]] | None = None
) -> Any:
    """Shardings of a tree of arrays, optimizer state included, by `spec_of`."""

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, spec_of(name, leaf.shape, mesh.shape[FSDP], rules or {}))

    return jax.tree_util.tree_map_with_path(sharding, tree)


def put(sharding: NamedSharding, rows: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Host arrays, whole on every process, as arrays sharded over all processes' devices."""

    def global_array(a: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(a.shape, sharding, lambda index: a[index])

    if jax.process_count() == 1:
        return jax.device_put(dict(rows), sharding)
    return {name: global_array(a) for name, a in rows.items()}


def on_one_device(mesh: Mesh, tree: Any) -> Any:
    """The tree of arrays, whole, on the first device of each process."""
    everywhere = jax.jit(lambda t: t, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(lambda a: a.addressable_data(0), everywhere)
