"""The figures of a whole split, each example counted once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from vaejax.core.game import Family, Params, losses_and_trace
from vaejax.core.rng import key_of
from vaejax.core.sharding import batch_sharding, check_batch, put, replicated
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import Prepare, preparation
from vaejax.distributions import Normal
from vaejax.distributions.spike_and_slab import SpikeAndSlab
from vaejax.losses.metrics import code_counts, figures

EVAL = 3  # a stream of random keys that training does not use
_ACTIVE = 0.01  # nats have no say here: variance of the posterior mean (1509.00519, section 5.2)


def judgement(family: Family, prepare: Prepare) -> Callable[..., Any]:
    """`(seed, params, rows, mask, number, step) -> sums` over one batch of an evaluation.

    Sums of the figures, of how often each code was used, and of the first two powers of posterior
    means, over the examples where the mask is true.
    """
    losses_fn = losses_and_trace(family, training=False)

    def judge(
        seed: Any, params: Params, rows: Any, mask: jax.Array, number: Any, step: Any
    ) -> tuple[Any, Any, Any]:
        key, data_key = jax.random.split(key_of(seed, EVAL, number))
        losses, trace = losses_fn(params, prepare(rows, data_key), key, step)
        draws = trace.x.shape[0] // mask.shape[0]  # of each example, side by side
        mask = jnp.repeat(mask, draws)
        weight = mask.astype(jnp.float32) / draws
        named = {
            k: (v * weight).sum() if v.ndim else v * weight.sum()
            for k, v in figures(losses, trace).items()
        }
        means = {
            i: node.posterior.mean.reshape(mask.shape[0], -1)
            for i, node in enumerate(trace.latents)
            if isinstance(node.posterior, Normal | SpikeAndSlab)
        }
        moments = {
            i: (weight @ mean, weight @ jnp.square(mean)) for i, mean in means.items()
        }  # [D] each
        return named, code_counts(trace, mask), moments

    return judge


def summed(
    judge: Callable[[Any, jax.Array, Any], Any],
    source: Source,
    at: NamedSharding,
    batch_size: int,
    limit: int,
) -> tuple[Any, int]:
    """The sums of all batches of a split, float64 on the host, and how many examples they are of.

    Args:
      judge: `(rows, mask, number of the batch) -> sums`.
      source: the split.
      at: where rows shall be.
      batch_size: examples at once.
      limit: only this many examples; 0 for all.
    """
    total: Any = None
    for number, (indices, mask) in enumerate(eval_batches(source.size, batch_size, limit)):
        arrays = put(at, source.take(indices) | {"": mask})
        mask_array = arrays.pop("")
        part = judge(arrays, mask_array, np.uint32(number))
        part = jax.tree.map(lambda a: np.asarray(a, np.float64), part)
        total = part if total is None else jax.tree.map(np.add, total, part)
    return total, min(limit, source.size) if limit else source.size


def averaged(total: Any, size: int) -> dict[str, float]:
    """The figures that sums over `size` examples amount to."""
    named, counts, moments = total
    result = {name: float(value) / size for name, value in named.items()}

    def number_of(name: str, per_node: dict[int, float], join: Callable[..., float]) -> None:
        if per_node:
            result[name] = float(join(list(per_node.values())))
        if len(per_node) > 1:
            result.update({f"{name}/{i}": value for i, value in per_node.items()})

    used = {i: float((c > 0).mean()) for i, c in counts.items()}
    variance = {i: s2 / size - (s / size) ** 2 for i, (s, s2) in moments.items()}
    active = {i: float((v > _ACTIVE).sum()) for i, v in variance.items()}
    number_of("codes_used", used, np.mean)
    number_of("active_units", active, np.sum)
    return result


def evaluator(
    family: Family,
    source: Source,
    mesh: Mesh,
    *,
    batch_size: int,
    seed: int = 0,
    binarize: str = "none",
) -> Callable[..., dict[str, float]]:
    """A compiled evaluation of a split.

    The draws of z, and of binarised images, depend on the seed and the example alone, so that two
    models, or two moments of one, are judged by the same noise.

    Args:
      family: whose model.
      source: the split.
      mesh: the devices.
      batch_size: examples at once.
      seed: of the noise.
      binarize: as in training.

    Returns:
      `(params, step, limit=0) -> figures` of `limit` examples (the first of `eval_order`, which
      look like the whole), or of all: means of every loss, `elbo`, `mse`, and where they make
      sense `codes_used` (fraction of the codebook over the whole split) and `active_units` (units
      whose posterior mean varies, 1509.00519, section 5.2). A statistic of the batch is the mean
      over batches.
    """
    check_batch(mesh, batch_size)
    of_seed = functools.partial(judgement(family, preparation(source, binarize)), seed)
    judge = jax.jit(of_seed, out_shardings=replicated(mesh))

    def evaluate(params: Params, step: int, limit: int = 0) -> dict[str, float]:
        def of_batch(rows: Any, mask: jax.Array, number: Any) -> Any:
            return judge(params, rows, mask, number, np.int32(step))

        return averaged(*summed(of_batch, source, batch_sharding(mesh), batch_size, limit))

    return evaluate
