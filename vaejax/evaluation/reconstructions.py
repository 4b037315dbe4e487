"""Reconstructions of a random part of a split, with the trace that they come from."""

from typing import Any, NamedTuple

import jax
import numpy as np

from vaejax.core.game import Batch, Family, Latent, Params, Trace
from vaejax.data import Source
from vaejax.data.batches import eval_order
from vaejax.data.preprocess import preparation
from vaejax.distributions import capabilities_of, is_discrete
from vaejax.distributions.point_estimate import point_estimate

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


def _point(node: Latent) -> jax.Array:
    """The posterior's mean, or the z of a node of codes, which may be a projection of them."""
    return node.posterior.mean if capabilities_of(node.posterior).continuous else node.z


def has_latents(family: Family, params: Params, source: Source) -> bool:
    """Whether the model encodes the examples of a source; computes nothing."""
    prepare = preparation(source)

    def encode(params: Params, rows: Any, key: jax.Array) -> Any:
        return family.model.encode(params, prepare(rows, key), key)

    rows = source.take(np.zeros(1, np.int32))
    return bool(jax.eval_shape(encode, params, rows, jax.random.key(0)))


def reconstruct(
    family: Family,
    params: Params,
    source: Source,
    *,
    examples: int = 512,
    seed: int = 0,
    binarize: str = "none",
) -> Reconstructions:
    """Encodes and reconstructs a random part of a split, in the order of the split.

    Args:
      family: whose model.
      params: of the model, on one device.
      source: the split.
      examples: at most.
      seed: of all random numbers.
      binarize: as in training.
    """
    prepare = preparation(source, binarize)

    @jax.jit
    def forward(params: Params, rows: Any, key: jax.Array) -> Reconstructions:
        data_key, key = jax.random.split(key)
        batch = prepare(rows, data_key)
        trace = family.model.forward(params, batch, key, None)
        samples = trace.x.shape[0] // len(next(iter(batch.values())))  # of each example
        zs = tuple(_point(node)[::samples] for node in trace.latents)
        latents = tuple(
            node._replace(prior=None) if is_discrete(node.prior) else node  # type: ignore[arg-type]
            for node in trace.latents  # the logits of a learned prior are large and not needed
        )
        trace = trace._replace(x=trace.x[::samples], latents=latents)
        means = point_estimate(family.model.decode(params, zs, batch))
        return Reconstructions(batch, trace, means)

    indices = np.sort(eval_order(source.size)[:examples])
    return forward(params, source.take(indices), jax.random.key(seed))
