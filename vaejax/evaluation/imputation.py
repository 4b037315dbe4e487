"""Missing elements of events, imputed by a trained model."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vaejax.core.events import event, event_name
from vaejax.core.game import Batch, Latent, Model, Params
from vaejax.core.types import PyTree
from vaejax.distributions import capabilities_of, is_discrete
from vaejax.distributions.mixed import class_probabilities, with_most_probable_classes
from vaejax.distributions.point_estimate import point_estimate
from vaejax.losses import event_log_prob, sampled_kl

__all__ = ["imputation_obstacle", "imputer"]


def imputation_obstacle(nodes: tuple[Latent, ...]) -> str | None:
    """Why missing elements cannot be imputed by a model; None if they can.

    Args:
      nodes: of the model, as arrays or shapes.
    """
    if not nodes:
        return "it needs a model with latents"
    if any(capabilities_of(node.prior).monte_carlo_kl for node in nodes):
        return "it needs a model of whole events; this one is trained on pairs of times"
    return None


def imputer(
    model: Model, steps: int, burn_in: int
) -> Callable[[Params, Batch, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """`(params, batch, missing, key) -> (means, samples)`, the events with missing elements filled.

    A Markov chain of z and the missing elements for each example: z is proposed from q(z | x), with
    x as it is filled so far, then the missing elements are sampled from p(x | z) (pseudo-Gibbs,
    Rezende et al. 2014, 1401.4082, appendix F). For a model with one continuous node the proposal
    is accepted with the probability of Metropolis and Hastings (Mattei and Frellsen 2018,
    1802.04826), so that the chain converges to p(z, x_missing | x_observed) of the model whatever
    the error of q; for codes and several nodes every proposal is accepted.

    Args:
      model: whose `encode`, `decode` and `generate`.
      steps: of the chain.
      burn_in: steps that the means leave out, fewer than `steps`.

    Returns:
      A function of params, a batch (whatever its event holds at missing elements), a mask `missing`
      of the event's shape (True where missing) and a key. `means` are averages of E[x | z] over the
      chain, of classes the most probable; `samples` are the last state of the chain.
    """

    def impute(
        params: Params, batch: Batch, missing: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        x, name = event(batch), event_name(batch)
        start_key, z_key, key = jax.random.split(key, 3)
        start = point_estimate(model.generate(params, start_key, x.shape[0], batch, 1.0))
        x = jnp.where(missing, start.astype(x.dtype), x)
        zs = tuple(node.z for node in model.encode(params, {**batch, name: x}, z_key))
        likelihood = model.decode(params, zs, batch)
        discrete = is_discrete(likelihood)

        def step(carry: PyTree, number: jax.Array) -> tuple[PyTree, None]:
            x, zs, total, chances = carry
            keys = jax.random.split(jax.random.fold_in(key, number), 3)
            zs = propose(params, {**batch, name: x}, zs, keys[0], keys[1])
            p = model.decode(params, zs, {**batch, name: x})
            total, chances = jax.tree.map(
                lambda sums, value: sums + jnp.where(number >= burn_in, value, 0.0),
                (total, chances),
                (p.mean, class_probabilities(p)),
            )
            x = jnp.where(missing, p.sample(keys[2]).astype(x.dtype), x)
            return (x, zs, total, chances), None

        sums = (likelihood.mean, class_probabilities(likelihood))
        first = (x, zs, *jax.tree.map(jnp.zeros_like, sums))
        (last, _, total, chances), _ = jax.lax.scan(step, first, jnp.arange(steps))
        mean = total.argmax(axis=-1) if discrete else total / (steps - burn_in)
        mean = with_most_probable_classes(likelihood, mean, chances)
        return jnp.where(missing, mean.astype(x.dtype), x), last

    def propose(
        params: Params,
        batch: Batch,
        zs: tuple[jax.Array, ...],
        z_key: jax.Array,
        accept_key: jax.Array,
    ) -> tuple[jax.Array, ...]:
        """z of the next state, given x."""
        nodes = model.encode(params, batch, z_key)
        proposed = tuple(node.z for node in nodes)
        if len(nodes) > 1 or not capabilities_of(nodes[0].posterior).continuous:
            return proposed
        (node,), (z,) = nodes, zs

        def log_weight(node: Latent) -> jax.Array:
            p = model.decode(params, (node.z,), batch)
            return event_log_prob(p, event(batch)) - sampled_kl(node)

        log_ratio = log_weight(node) - log_weight(node._replace(z=z))
        uniform = jax.random.uniform(accept_key, log_ratio.shape, minval=1e-12)
        accepted = jnp.log(uniform) < log_ratio
        return (jnp.where(accepted.reshape(-1, *(1,) * (z.ndim - 1)), node.z, z),)

    return impute
