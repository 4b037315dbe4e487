"""The shapes of a model's latents and condition for the examples of a source; nothing is computed.

Metrics and figures use them to find out whether they apply.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch, Family, Latent, Model
from vaejax.data import Source
from vaejax.data.preprocess import preparation

__all__ = ["batch_shapes", "is_conditional", "latent_shapes"]


def batch_shapes(source: Source) -> Batch:
    """The fields of a batch of one example, as `jax.ShapeDtypeStruct`s."""
    rows = source.take(np.zeros(1, np.int32))
    return jax.eval_shape(preparation(source), rows, jax.random.key(0))


@functools.lru_cache(maxsize=16)
def _latents(model: Model, source: Source) -> tuple[Latent, ...]:
    def latents(batch: Batch, key: jax.Array) -> tuple[Latent, ...]:
        return model.encode(model.init(key, batch), batch, key)

    return jax.eval_shape(latents, batch_shapes(source), jax.random.key(0))


@functools.lru_cache(maxsize=16)
def _is_conditional(model: Model, source: Source) -> bool:
    def condition(batch: Batch, key: jax.Array) -> jax.Array | None:
        return model.forward(model.init(key, batch), batch, key, jnp.int32(0)).condition

    return jax.eval_shape(condition, batch_shapes(source), jax.random.key(0)) is not None


def latent_shapes(family: Family, source: Source) -> tuple[Latent, ...]:
    """The nodes of a model for one example, top-down; `()` for a model without latents."""
    return _latents(family.model, source)


def is_conditional(family: Family, source: Source) -> bool:
    """Whether the model reads a condition from the batches of a source."""
    return _is_conditional(family.model, source)
