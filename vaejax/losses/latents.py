"""Samples of the stochastic nodes of a trace, for losses that compare samples of z."""

import jax
import jax.numpy as jnp

from vaejax.core.game import Trace
from vaejax.distributions import capabilities_of

__all__ = ["continuous_z"]


def continuous_z(loss: str, trace: Trace, node: int | None = None) -> dict[int, jax.Array]:
    """Number of a node -> its z, flattened to float32 `[B, D]`.

    Args:
      loss: name of the calling loss, for errors.
      trace: of a forward pass.
      node: number of a node, also negative; None for all.

    Raises:
      ValueError: there is no such node, or it holds codes or classes.
    """
    count = len(trace.latents)
    if node is not None and not -count <= node < count:
        raise ValueError(f"the loss {loss!r} needs node {node}, but the model has {count} nodes")
    zs = {}
    for i in range(count) if node is None else [node % count]:
        posterior, z = trace.latents[i].posterior, trace.latents[i].z
        if not capabilities_of(posterior).continuous:
            raise ValueError(
                f"the loss {loss!r} needs a continuous z, but node {i} has a posterior of type "
                f"{type(posterior).__name__}; use a model with continuous latents, or choose "
                "another node"
            )
        zs[i] = z.reshape(z.shape[0], -1).astype(jnp.float32)
    return zs
