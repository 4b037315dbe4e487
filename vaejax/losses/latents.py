"""The draws of a trace's stochastic nodes, for losses that look at samples of z."""

import jax
import jax.numpy as jnp

from vaejax.core.game import Trace
from vaejax.distributions import Codes


def continuous_z(loss: str, trace: Trace, node: int | None = None) -> dict[int, jax.Array]:
    """Node -> its z, flattened to float32 `[B, D]`.

    Args:
      loss: name of the loss that asks, for errors.
      trace: of a forward pass.
      node: which one; None for all.

    Raises:
      ValueError: there is no such node, or it holds codes or classes.
    """
    count = len(trace.latents)
    if node is not None and not -count <= node < count:
        raise ValueError(f"the loss {loss!r} asks for node {node}, but the model has {count} nodes")
    found = {}
    for i in range(count) if node is None else [node % count]:
        posterior, z = trace.latents[i].posterior, trace.latents[i].z
        if isinstance(posterior, Codes) or not jnp.issubdtype(z.dtype, jnp.floating):
            raise ValueError(
                f"the loss {loss!r} needs a continuous z, but node {i} has a posterior of type "
                f"{type(posterior).__name__}; take a model whose nodes are Gaussian, say, or name "
                "another node"
            )
        found[i] = z.reshape(z.shape[0], -1).astype(jnp.float32)
    return found
