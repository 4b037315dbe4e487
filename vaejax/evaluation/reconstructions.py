"""Reconstructions of a random part of a split, with the trace that they come from."""

from typing import NamedTuple

import jax
import numpy as np

from vaejax.core.game import Batch, Family, Params, Trace
from vaejax.data import Source
from vaejax.data.batches import eval_order
from vaejax.distributions import is_discrete
from vaejax.distributions.point_estimate import point_estimate
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import latent_shapes

__all__ = ["Reconstructions", "has_latents", "reconstruct"]


class Reconstructions(NamedTuple):
    """B examples and their reconstructions.

    Attributes:
      batch: the examples.
      trace: of their forward pass, with `x` `[B, ...]`. The prior of a node is None if it is
        categorical.
      means: point estimates of p(x | z) at the posterior means of z, `[B, ...]`.
    """

    batch: Batch
    trace: Trace
    means: jax.Array


def has_latents(family: Family, source: Source) -> bool:
    """Whether the model encodes the examples of a source; computes nothing."""
    return bool(latent_shapes(family, source))


def reconstruct(context: EvaluationContext, *, examples: int = 512) -> Reconstructions:
    """Encodes and reconstructs a random part of a split, in the order of the split.

    Reconstructions are decoded from the z of an encoding without a key: posterior means, projected
    to the support of the posterior where that is not all of ℝᴰ, or the most likely codes.

    Args:
      context: the model and the split.
      examples: at most.
    """
    model, prepare = context.family.model, context.prepare

    @jax.jit
    def forward(params: Params, rows: dict[str, jax.Array], key: jax.Array) -> Reconstructions:
        data_key, key = jax.random.split(key)
        batch = prepare(rows, data_key)
        trace = model.forward(params, batch, key, None)
        samples = trace.x.shape[0] // len(next(iter(batch.values())))  # of each example
        latents = tuple(
            node._replace(prior=None) if is_discrete(node.prior) else node  # type: ignore[arg-type]
            for node in trace.latents  # the logits of a learned prior are large and not needed
        )
        trace = trace._replace(x=trace.x[::samples], latents=latents)
        zs = tuple(node.z for node in model.encode(params, batch, None))
        means = point_estimate(model.decode(params, zs, batch))
        return Reconstructions(batch, trace, means)

    indices = np.sort(eval_order(context.source.size)[:examples])
    key = jax.random.key(context.seed)
    return forward(context.local_params, context.source.take(indices), key)
