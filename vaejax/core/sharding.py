"""Sharding over devices: a mesh of axes for data, for sharded parameters and for large layers."""

import math
import re
from collections.abc import Collection, Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vaejax.core.sharding_rules import Rules, parse_rules, tensor_axes
from vaejax.core.tensor_axis import TENSOR
from vaejax.core.types import Options, PyTree

__all__ = [
    "DATA",
    "FSDP",
    "TENSOR",
    "batch_sharding",
    "check_batch",
    "make_mesh",
    "mesh_of",
    "on_one_device",
    "own_positions",
    "put",
    "put_own",
    "replicated",
    "spec_of",
    "tree_sharding",
]

DATA, FSDP = "data", "fsdp"
_SMALL = 2**12  # elements; smaller arrays are replicated, which is cheaper than gathering them


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """A mesh of `data` × `fsdp` × `tensor` devices; a mesh of one is a device of this process.

    Args:
      data: devices along the data axis; -1 for all devices / (`fsdp` · `tensor`).
      fsdp: devices over which one copy of the parameters is sharded.
      tensor: devices over which the codes of a codebook and the units of layers are sharded, see
        `sharding_rules`. They compute the same examples together.

    Raises:
      ValueError: there are fewer devices.
    """
    available = jax.device_count()
    if data == -1:
        data = max(available // max(fsdp * tensor, 1), 1)
    needed = data * fsdp * tensor
    if min(data, fsdp, tensor) < 1 or needed > available:
        axes = f"data={data} × fsdp={fsdp}" + (f" × tensor={tensor}" if tensor != 1 else "")
        raise ValueError(
            f"a mesh of {axes} needs {needed} devices, found {available}; "
            "on CPU, JAX_NUM_CPU_DEVICES=8 in the environment makes 8 virtual ones"
        )
    names = (DATA, FSDP, TENSOR)
    auto = (AxisType.Auto,) * len(names)
    devices = jax.devices()[:needed] if needed > 1 else jax.local_devices()[:1]
    return jax.make_mesh((data, fsdp, tensor), names, axis_types=auto, devices=devices)


def mesh_of(fields: Options) -> Mesh:
    """The mesh of the section `mesh` of a config.

    Raises:
      ValueError: there are fewer devices, a process would have none, or `rules` is not of its form.
    """
    parse_rules(fields.get("rules", ""))
    mesh = make_mesh(**{name: size for name, size in fields.items() if name != "rules"})
    count, used = jax.process_count(), {device.process_index for device in mesh.devices.flat}
    if len(used) < count:
        raise ValueError(
            f"a mesh of {mesh.size} of {jax.device_count()} devices leaves {count - len(used)} of "
            f"{count} processes without any: leave mesh.data at -1, or start fewer processes"
        )
    return mesh


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays with a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, leading: int = 0) -> NamedSharding:
    """The sharding of examples over `data` and `fsdp`, along the axis after `leading` others."""
    return NamedSharding(mesh, PartitionSpec(*[None] * leading, (DATA, FSDP)))


def check_batch(mesh: Mesh, batch_size: int, grad_accumulation_steps: int = 1) -> None:
    """Raises ValueError unless every device gets the same number of rows of every micro-batch."""
    devices = mesh.shape[DATA] * mesh.shape[FSDP]
    parts = devices * grad_accumulation_steps
    if batch_size % parts:
        raise ValueError(
            f"train.batch_size={batch_size} is not divisible by {parts} (mesh of {devices} "
            f"devices × train.grad_accumulation_steps={grad_accumulation_steps}); the nearest "
            f"multiple is {max(round(batch_size / parts), 1) * parts}"
        )


def spec_of(
    path: str, shape: tuple[int, ...], fsdp: int, rules: Rules, tensor: int = 1
) -> PartitionSpec:
    """How one array is sharded over the axes `fsdp` and `tensor`.

    A dimension is split over `tensor` by the library's rules. Of the others the largest that is
    divisible is split over `fsdp`; small arrays are replicated.

    Args:
      path: of the array, such as `params/encoder/Dense_0/kernel`.
      shape: of the array.
      fsdp: size of the axis.
      rules: regular expression -> one axis name or None per dimension; the first expression found
        in the path, of no more dimensions than the array, overrides both.
      tensor: size of the axis.
    """
    for pattern, of_rule in rules.items():
        if re.search(pattern, path) and len(of_rule) <= len(shape):
            return PartitionSpec(*of_rule)
    if math.prod(shape) < _SMALL:
        return PartitionSpec()
    axes = tensor_axes(path, shape, tensor)
    divisible = [d for d, n in enumerate(shape) if n % fsdp == 0 and axes[d] is None]
    if fsdp > 1 and divisible:
        axes[max(divisible, key=lambda d: shape[d])] = FSDP
    return PartitionSpec(*axes) if any(axes) else PartitionSpec()


def tree_sharding(mesh: Mesh, tree: PyTree, rules: Rules | None = None) -> PyTree:
    """Shardings of a tree of arrays, optimizer state included, by `spec_of`."""

    def sharding(path: tuple[jax.tree_util.KeyEntry, ...], leaf: jax.Array) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        fsdp, tensor = mesh.shape[FSDP], mesh.shape[TENSOR]
        found = NamedSharding(mesh, spec_of(name, leaf.shape, fsdp, rules or {}, tensor))
        try:
            found.shard_shape(leaf.shape)
        except ValueError:
            raise ValueError(
                f"mesh.rules: the array {name} of shape {list(leaf.shape)} cannot be split as "
                f"{tuple(found.spec)} over {dict(mesh.shape)}"
            ) from None
        return found

    return jax.tree_util.tree_map_with_path(sharding, tree)


def put(sharding: NamedSharding, rows: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Host arrays, complete on every process, as arrays sharded over all processes' devices."""

    def global_array(a: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(a.shape, sharding, lambda index: a[index])

    if jax.process_count() == 1:
        arrays: dict[str, jax.Array] = jax.device_put(dict(rows), sharding)
        return arrays
    return {name: global_array(a) for name, a in rows.items()}


def own_positions(
    sharding: NamedSharding,
    size: int,
    axis: int = 0,
    devices: Collection[jax.Device] | None = None,
) -> np.ndarray:
    """Positions int `[n]`, ascending, of the rows that a process has of a sharded axis.

    Args:
      sharding: of arrays with an axis of rows.
      size: number of rows, of all processes.
      axis: of the rows.
      devices: of the process; None for those of this one.
    """
    everywhere = sharding.devices_indices_map((1,) * axis + (size,))
    mine = sharding.addressable_devices if devices is None else devices
    parts = [np.arange(size)[everywhere[device][axis]] for device in everywhere if device in mine]
    return np.unique(np.concatenate(parts)) if parts else np.arange(0)


def put_own(
    sharding: NamedSharding, rows: Mapping[str, np.ndarray], size: int, axis: int = 0
) -> dict[str, jax.Array]:
    """The own rows of every process as global arrays.

    Args:
      sharding: of the global arrays.
      rows: name -> those at `own_positions`, along `axis`.
      size: number of rows, of all processes.
      axis: of the rows.
    """
    if jax.process_count() == 1:
        arrays: dict[str, jax.Array] = jax.device_put(dict(rows), sharding)
        return arrays
    own = own_positions(sharding, size, axis)

    def global_array(a: np.ndarray) -> jax.Array:
        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            start, stop, _ = index[axis].indices(size)
            first = int(np.searchsorted(own, start))  # rows of a device follow one another
            return a[(*index[:axis], slice(first, first + stop - start), *index[axis + 1 :])]

        shape = (*a.shape[:axis], size, *a.shape[axis + 1 :])
        return jax.make_array_from_callback(shape, sharding, part)

    return {name: global_array(a) for name, a in rows.items()}


def on_one_device(mesh: Mesh, tree: PyTree) -> PyTree:
    """The tree of arrays, unsharded, on the first device of each process."""
    copies = jax.jit(lambda t: t, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(lambda a: a.addressable_data(0), copies)
