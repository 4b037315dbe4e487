"""A flag that all processes of a run agree on, without waiting for each other."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vaejax.core.sharding import replicated

__all__ = ["Agreement"]


class Agreement:
    """Whether any process has raised a flag, known to all of them in the same iteration.

    Each iteration of a loop begins a reduction over all devices and reads that of the iteration
    before, which the devices have finished by then. A process alone knows its flag at once.
    """

    def __init__(self) -> None:
        self._alone = jax.process_count() == 1
        self._before: jax.Array | None = None
        if self._alone:
            return
        mesh = Mesh(np.array(jax.devices()), ("devices",))
        self._sharding = NamedSharding(mesh, PartitionSpec("devices"))
        self._any = jax.jit(lambda flags: flags.any(), out_shardings=replicated(mesh))

    def reached(self, flag: bool) -> bool:
        """Whether a flag had been raised by any process at the iteration before.

        Args:
          flag: of this process. Every process calls this once in every iteration.
        """
        if self._alone:
            return flag
        before, mine = self._before, np.array([flag])
        shape = (jax.device_count(),)
        flags = jax.make_array_from_callback(shape, self._sharding, lambda _: mine)
        self._before = self._any(flags)
        return before is not None and bool(before)
