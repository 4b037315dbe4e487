"""What of the KL tells examples apart: mutual information and the KL of the aggregate posterior."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.distributions import LOG_2PI


class Information(NamedTuple):
    """The two parts of the average KL (Hoffman and Johnson 2016), nats `[]` each.

    Attributes:
      mutual_information: of examples and z under q; at most log N.
      marginal_kl: KL(q(z) ‖ p(z)) of the aggregate posterior q(z) = 1/N Σ q(z | x_n).
    """

    mutual_information: jax.Array
    marginal_kl: jax.Array


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

    def one(key: jax.Array) -> Information:
        z = loc + scale * jax.random.normal(key, loc.shape)
        own = -0.5 * (jnp.square((z - loc) / scale) + LOG_2PI) - jnp.log(scale)
        padded = jnp.pad(z, ((0, -n % chunk), (0, 0))).reshape(-1, chunk, dim)
        whole = jax.lax.map(aggregate, padded).reshape(-1)[:n]
        return Information(
            (own.sum(axis=1) - whole).mean(), (whole - prior.log_prob(z).sum(axis=1)).mean()
        )

    found = jax.lax.map(one, jax.random.split(key, draws))
    return jax.tree.map(lambda a: a.mean(), found)
