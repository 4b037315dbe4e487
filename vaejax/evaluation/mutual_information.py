"""What of the KL tells examples apart: mutual information and the KL of the aggregate posterior."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Family, Latent, Params
from vaejax.core.rng import key_of
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import preparation
from vaejax.distributions import LOG_2PI, Normal
from vaejax.losses import event_log_prob

INFORMATION = 8  # a stream of random keys of its own


class Information(NamedTuple):
    """The two parts of the average KL (Hoffman and Johnson 2016), nats `[]` each.

    Attributes:
      mutual_information: of examples and z under q; at most log N.
      marginal_kl: KL(q(z) ‖ p(z)) of the aggregate posterior q(z) = 1/N Σ q(z | x_n).
    """

    mutual_information: jax.Array
    marginal_kl: jax.Array


def log_aggregate(z: jax.Array, loc: jax.Array, scale: jax.Array, chunk: int = 256) -> jax.Array:
    """log q(z) `[n]` of z `[n, D]` under q(z) = 1/N Σ q(z | x_n), in blocks of `chunk` draws.

    Args:
      z: the draws.
      loc: means of q(z | x_n), `[N, D]`.
      scale: their standard deviations.
      chunk: draws that are compared with all posteriors at once.
    """
    n, dim = loc.shape
    constant = -jnp.log(scale).sum(axis=1) - 0.5 * dim * LOG_2PI  # [N]

    def aggregate(z: jax.Array) -> jax.Array:  # [c, D] -> [c]
        # One dimension after the other: the squares multiplied out would lose all digits where a
        # posterior is narrow and far from 0.
        def add(d: jax.Array, logs: jax.Array) -> jax.Array:
            gap = (z[:, d, None] - loc[None, :, d]) / scale[None, :, d]
            return logs - 0.5 * jnp.square(gap)

        start = jnp.broadcast_to(constant[None], (len(z), n))
        return jax.nn.logsumexp(jax.lax.fori_loop(0, dim, add, start), axis=1) - jnp.log(float(n))

    padded = jnp.pad(z, ((0, -len(z) % chunk), (0, 0))).reshape(-1, chunk, dim)
    return jax.lax.map(aggregate, padded).reshape(-1)[: len(z)]


def information(
    loc: jax.Array,
    scale: jax.Array,
    prior: Any,
    key: jax.Array,
    *,
    draws: int = 1,
    chunk: int = 256,
) -> Information:
    """Mutual information and marginal KL of Gaussian posteriors, with a draw of z for each example.

    log q(z) sums over all N posteriors, in blocks, so memory grows with N alone.

    Args:
      loc: means of q(z | x_n), `[N, D]`.
      scale: their standard deviations.
      prior: p(z), whose `log_prob` takes `[n, D]` and is elementwise.
      key: of the draws.
      draws: of z for each example.
      chunk: draws that are compared with all posteriors at once.
    """

    def one(key: jax.Array) -> Information:
        z = loc + scale * jax.random.normal(key, loc.shape)
        own = -0.5 * (jnp.square((z - loc) / scale) + LOG_2PI) - jnp.log(scale)
        whole = log_aggregate(z, loc, scale, chunk)
        return Information(
            (own.sum(axis=1) - whole).mean(), (whole - prior.log_prob(z).sum(axis=1)).mean()
        )

    found = jax.lax.map(one, jax.random.split(key, draws))
    return jax.tree.map(lambda a: a.mean(), found)


def check_information(nodes: Sequence[Latent], conditional: bool) -> None:
    """Sees whether `information_of_split` can be asked of a model.

    Args:
      nodes: of the model, of arrays or of shapes.
      conditional: whether it is given a condition.

    Raises:
      ValueError: it has not one Gaussian vector, or its prior depends on a condition.
    """
    if conditional:
        raise ValueError(
            "evaluate.information is of one prior p(z) of all examples; this model's depends on a "
            "condition"
        )
    if len(nodes) != 1 or not isinstance(nodes[0].posterior, Normal) or nodes[0].z.ndim != 2:
        kinds = [f"{type(node.posterior).__name__} {list(node.z.shape[1:])}" for node in nodes]
        raise ValueError(
            "evaluate.information is of one node, a Gaussian vector; this model has "
            f"{', '.join(kinds) or 'none'}"
        )


def information_of_split(
    family: Family,
    params: Params,
    source: Source,
    *,
    examples: int,
    batch_size: int,
    seed: int = 0,
    binarize: str = "none",
) -> dict[str, float]:
    """`mutual_information` and `marginal_kl` of a split, nats: their sum is its average KL.

    By one draw of z for each example, and the sum over all posteriors of the examples. The
    mutual information of N examples is at most log N, so that it is to be compared at one N alone.

    Args:
      family: whose model, with one Gaussian vector.
      params: of it, on one device.
      source: the split.
      examples: N, the first of `eval_order`; more than there are stands for all.
      batch_size: examples encoded at once.
      seed: of the draws.
      binarize: as in training.
    """
    prepare = preparation(source, binarize)

    @jax.jit
    def encode(params: Params, rows: Any, number: Any) -> tuple[jax.Array, ...]:
        key, data_key = jax.random.split(key_of(seed, INFORMATION, number))
        (node,) = family.model.encode(params, prepare(rows, data_key), key)
        q, p, z = node
        return q.loc, q.scale, z, event_log_prob(q, z), event_log_prob(p, z)

    parts = []
    for number, (indices, mask) in enumerate(eval_batches(source.size, batch_size, examples)):
        found = encode(params, source.take(indices), jnp.uint32(number))
        parts.append([np.asarray(a)[mask] for a in found])
    loc, scale, z, own, prior = (np.concatenate(each) for each in zip(*parts, strict=True))
    whole = np.asarray(jax.jit(log_aggregate)(z, loc, scale), np.float64)
    return {
        "mutual_information": float((own - whole).mean()),
        "marginal_kl": float((whole - prior).mean()),
    }
