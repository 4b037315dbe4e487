"""A program that samples from a trained model, as the encoder and the decoder are programs."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from vaejax.core.game import Family, Params
from vaejax.core.types import PyTree
from vaejax.distributions.point_estimate import point_estimate
from vaejax.export.program import Program, describe, export_program

__all__ = ["sampler_program"]


def sampler_program(
    family: Family, params: Params, event: str, condition: Mapping[str, PyTree]
) -> Program:
    """A program `(seeds [b], *condition) -> events [b, ...]`, one sample for each seed.

    A sample depends on its own seed and condition alone: it is that of
    `model.generate(params, jax.random.key(seed), 1, condition)`.

    Args:
      family: of the model.
      params: of the model; they are embedded.
      event: name of the event.
      condition: name -> shape and dtype, without the batch axis, of the fields of the condition.

    Raises:
      ValueError: the model cannot be exported.
    """
    params = jax.tree.map(np.asarray, params)
    (size,) = jax_export.symbolic_shape("b")
    names = sorted(condition)
    specs = [jax.ShapeDtypeStruct((size,), jnp.uint32)]
    specs += [jax.ShapeDtypeStruct((size, *condition[n].shape), condition[n].dtype) for n in names]

    def sample(seeds: jax.Array, *values: jax.Array) -> jax.Array:
        constants = jax.tree.map(jnp.asarray, params)

        def of_seed(seed: jax.Array, *fields: jax.Array) -> jax.Array:
            batch = {n: field[None] for n, field in zip(names, fields, strict=True)}
            key = jax.random.key(seed)
            return point_estimate(family.model.generate(constants, key, 1, batch or None))[0]

        return jax.vmap(of_seed)(seeds, *values)

    exported = export_program("sampler", sample, specs)
    (x,) = exported.out_avals
    outputs = [describe(event, x) | {"is": "a sample of the model for each seed"}]
    return Program(exported, list(map(describe, ["seed", *names], specs)), outputs)
