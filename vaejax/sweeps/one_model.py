"""One model of a sweep on devices of its own, or on those of all processes."""

import jax
import numpy as np
from jax.sharding import Mesh

from vaejax.core.sharding import make_mesh, replicated
from vaejax.core.types import PyTree
from vaejax.sweeps.sweep import select

__all__ = ["one_model"]


def one_model(stack: PyTree, model: int, mesh: Mesh) -> tuple[PyTree, Mesh]:
    """A model's part of a sweep's state, with a copy on every device of a mesh, and that mesh.

    In one process the mesh is one device. Several processes have no device in common, so that they
    use all.

    Args:
      stack: the state, or any tree of arrays with a leading model axis.
      model: its number.
      mesh: of the sweep.
    """
    if jax.process_count() == 1:
        single = make_mesh(1)
        return jax.device_put(select(stack, model), replicated(single)), single
    return jax.jit(select, out_shardings=replicated(mesh))(stack, np.int32(model)), mesh
