"""The figures of a whole split, each example counted once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preparation import preparation
from vaejax.distributions import Normal
from vaejax.figures import code_counts, figures
from vaejax.game import Family, Params, losses_and_trace
from vaejax.training.sharding import batch_sharding, check_batch, put
from vaejax.training.state import key_of

EVAL = 3  # a stream of random keys that training does not use
_ACTIVE = 0.01  # nats have no say here: variance of the posterior mean (1509.00519, section 5.2)


def evaluator(
    family: Family,
    source: Source,
    mesh: Mesh,
    *,
    batch_size: int,
    seed: int = 0,
    binarize: str = "none",
    limit: int = 0,
) -> Callable[[Params, int], dict[str, float]]:
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
      limit: evaluate only this many examples; 0 for all.

    Returns:
      `(params, step) -> figures`: means over the split of every loss, `elbo`, `mse`, and where
      they make sense `codes_used` (fraction of the codebook over the whole split) and
      `active_units` (units whose posterior mean varies, 1509.00519, section 5.2).
    """
    check_batch(mesh, batch_size)
    prepare, losses_fn = preparation(source, binarize), losses_and_trace(family)
    size = min(limit, source.size) if limit else source.size

    @jax.jit
    def judge(params: Params, rows: Any, mask: jax.Array, number: Any, step: Any) -> Any:
        key, data_key = jax.random.split(key_of(seed, EVAL, number))
        losses, trace = losses_fn(params, prepare(rows, data_key), key, step)
        weight = mask.astype(jnp.float32)
        named = {
            k: (v * weight).sum() if v.ndim else v * weight.sum()
            for k, v in figures(losses, trace).items()
        }
        means = {
            i: node.posterior.mean.reshape(mask.shape[0], -1)
            for i, node in enumerate(trace.latents)
            if isinstance(node.posterior, Normal)
        }
        moments = {
            i: (weight @ mean, weight @ jnp.square(mean)) for i, mean in means.items()
        }  # [D] each
        return named, code_counts(trace, mask), moments

    def evaluate(params: Params, step: int) -> dict[str, float]:
        total: Any = None
        for number, (indices, mask) in enumerate(eval_batches(size, batch_size)):
            arrays = put(batch_sharding(mesh), source.take(indices) | {"": mask})
            mask_array = arrays.pop("")
            part = judge(
                params, arrays, mask_array, jnp.uint32(number), jnp.asarray(step, jnp.int32)
            )
            part = jax.tree.map(lambda a: np.asarray(a, np.float64), part)
            total = part if total is None else jax.tree.map(np.add, total, part)
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

    return evaluate
