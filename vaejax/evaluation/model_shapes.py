"""The shapes of a model's latents and condition for the examples of a source; nothing is computed.

Metrics and figures use them to find out whether they apply.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch, Family, Latent, Model
from vaejax.core.rng import key_shape
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.evaluation.latent_space import vector_node

__all__ = ["batch_shapes", "is_conditional", "latent_shapes", "vector_obstacle"]


def batch_shapes(source: Source) -> Batch:
    """The fields of a batch of one example, as `jax.ShapeDtypeStruct`s."""
    rows = source.take(np.zeros(1, np.int32))
    return jax.eval_shape(preparation(source), rows, key_shape())


@functools.lru_cache(maxsize=16)
def _latents(model: Model, source: Source) -> tuple[Latent, ...]:
    def latents(batch: Batch, key: jax.Array) -> tuple[Latent, ...]:
        return model.encode(model.init(key, batch), batch, key)

    return jax.eval_shape(latents, batch_shapes(source), key_shape())


@functools.lru_cache(maxsize=16)
def _is_conditional(model: Model, source: Source) -> bool:
    def condition(batch: Batch, key: jax.Array) -> jax.Array | None:
        return model.forward(model.init(key, batch), batch, key, jnp.int32(0)).condition

    return jax.eval_shape(condition, batch_shapes(source), key_shape()) is not None


def latent_shapes(family: Family, source: Source) -> tuple[Latent, ...]:
    """The nodes of a model for one example, top-down; `()` for a model without latents."""
    return _latents(family.model, source)


def vector_obstacle(family: Family, source: Source) -> str | None:
    """Why a metric of one continuous vector of latents does not apply; None if it does."""
    nodes = latent_shapes(family, source)
    if vector_node(nodes) is not None:
        return None
    kinds = [f"{type(node.posterior).__name__} {list(node.z.shape[1:])}" for node in nodes]
    return (
        "it needs a model with one node, a continuous vector; this model has "
        f"{', '.join(kinds) or 'none'}"
    )


def is_conditional(family: Family, source: Source) -> bool:
    """Whether the model reads a condition from the batches of a source."""
    return _is_conditional(family.model, source)
