"""Annealed importance sampling: log p(x) where the posterior is far from q, and rate–distortion.

From the prior to the posterior through π_β ∝ p(z) p(x | z)^β, a Hamiltonian transition at each β
(Neal 2001; Wu et al., 1611.04273, section 3). q is not asked.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.events import event
from vaejax.core.game import Batch, Model, Params
from vaejax.losses import event_log_prob, sum_event

_GROW, _WANTED = 1.02, 0.65  # of step sizes, and how often transitions should be accepted


class Annealed(NamedTuple):
    """What the chains found, nats, for each example and along the T temperatures.

    Attributes:
      log_p: the estimate of log p(x) `[B]`; on average a lower bound when chains start from the
        prior, an upper one when they start from the posterior.
      beta: the T temperatures that were reached, from the first above 0 to 1 (the other way round
        in reverse).
      distortion: E −log p(x | z) under π_β, by the weights of the chains, `[T, B]`.
      rate: KL(π_β ‖ p(z)) as far as the chains know it, `[T, B]` (Huang et al., 2008.06653, eq. 9).
      accepted: share of the transitions that were accepted, `[T]`.
    """

    log_p: jax.Array
    beta: jax.Array
    distortion: jax.Array
    rate: jax.Array
    accepted: jax.Array


def schedule(temperatures: int) -> jax.Array:
    """β from 0 to 1, `[temperatures + 1]`, dense at both ends: a sigmoid from −4 to 4, rescaled."""
    s = jax.nn.sigmoid(jnp.linspace(-4.0, 4.0, temperatures + 1))
    return (s - s[0]) / (s[-1] - s[0])


def annealed(
    model: Model,
    params: Params,
    batch: Batch,
    key: jax.Array,
    *,
    temperatures: int = 500,
    chains: int = 16,
    leapfrog: int = 10,
    step_size: float = 0.1,
    posterior: jax.Array | None = None,
) -> Annealed:
    """Runs `chains` chains for each example, all at once.

    Step sizes are adapted to each chain on the way, which leaves the bounds ones on average only
    in the limit of many temperatures (as in 1611.04273).

    Args:
      model: with one node, a Gaussian or any other density, whose prior can be sampled.
      params: of the model.
      batch: what is to be explained, B examples.
      key: of everything.
      temperatures: T.
      chains: C of each example.
      leapfrog: steps of a transition.
      step_size: of the first transition.
      posterior: exact draws of the posterior `[C, B, ...]` to start from, for chains that run
        backwards from β = 1 to 0; known for data that the model itself has made, see `simulated`.

    Raises:
      ValueError: the model has not one continuous node.
    """
    x, first_key, key = event(batch), *jax.random.split(key)
    latents = model.encode(params, batch, first_key)
    if len(latents) != 1 or not jnp.issubdtype(latents[0].z.dtype, jnp.floating):
        raise ValueError(
            f"annealing wants a model with one continuous node, this one has {len(latents)}; "
            "importance sampling (evaluate.samples) takes any number"
        )
    prior = latents[0].prior

    def log_prior(z: jax.Array) -> jax.Array:
        return event_log_prob(prior, z)

    def log_likelihood(z: jax.Array) -> jax.Array:
        return event_log_prob(model.decode(params, (z,), batch), x)

    def transition(z: jax.Array, size: jax.Array, beta: jax.Array, key: jax.Array) -> Any:
        momentum_key, accept_key, jitter_key = jax.random.split(key, 3)
        # Lengths that vary: in a Gaussian one that is a period long would lead back to its start.
        jittered = size * jax.random.uniform(jitter_key, size.shape, minval=0.6, maxval=1.0)
        wide = jittered.reshape(-1, *(1,) * (z.ndim - 1))

        def energy(z: jax.Array) -> jax.Array:
            return -log_prior(z) - beta * log_likelihood(z)

        slope = jax.grad(lambda z: energy(z).sum())
        momentum = jax.random.normal(momentum_key, z.shape)

        def leap(_: Any, state: Any) -> Any:
            moved, p, g = state
            p = p - 0.5 * wide * g
            moved = moved + wide * p
            g = slope(moved)
            return moved, p - 0.5 * wide * g, g

        moved, p, _ = jax.lax.fori_loop(0, leapfrog, leap, (z, momentum, slope(z)))
        gain = energy(z) - energy(moved)
        gain = gain + 0.5 * (sum_event(jnp.square(momentum)) - sum_event(jnp.square(p)))
        accepts = jnp.log(jax.random.uniform(accept_key, gain.shape)) < gain  # never where nan
        z = jnp.where(accepts.reshape(wide.shape), moved, z)
        # In balance at the wanted rate: log growth · rate + log shrinking · (1 − rate) = 0.
        factor = jnp.where(accepts, _GROW ** (1 - _WANTED), _GROW**-_WANTED)
        return z, jnp.clip(size * factor, 1e-4, 2.0), accepts

    betas = schedule(temperatures)
    if posterior is not None:
        betas = betas[::-1]

    def chain(key: jax.Array, start: jax.Array | None) -> Any:
        start_key, key = jax.random.split(key)
        z = prior.sample(start_key) if start is None else start
        z = jnp.broadcast_to(z, latents[0].z.shape)

        def anneal(state: Any, inputs: Any) -> tuple[Any, Any]:
            z, size, weight = state
            before, beta, number = inputs
            weight = weight + (beta - before) * log_likelihood(z)
            z, size, accepts = transition(z, size, beta, jax.random.fold_in(key, number))
            return (z, size, weight), (weight, -log_likelihood(z), accepts)

        state = z, jnp.full(len(x), step_size), jnp.zeros(len(x))
        numbers = jnp.arange(temperatures)
        return jax.lax.scan(anneal, state, (betas[:-1], betas[1:], numbers))[1]

    keys = jax.random.split(key, chains)
    in_axes = (0, None if posterior is None else 0)
    weights, distortion, accepts = jax.vmap(chain, in_axes)(keys, posterior)  # [C, T, B]
    sign = 1.0 if posterior is None else -1.0
    log_z = sign * (jax.nn.logsumexp(weights, axis=0) - jnp.log(float(chains)))  # [T, B]
    # Chains lag behind π_β; their weights say by how much.
    distortion = (jax.nn.softmax(weights, axis=0) * distortion).sum(axis=0)
    here = log_z if posterior is None else log_z[-1][None] - log_z  # of π_β against the prior
    rate = -betas[1:, None] * distortion - here
    return Annealed(
        log_z[-1], betas[1:], distortion, rate, accepts.astype(jnp.float32).mean(axis=(0, 2))
    )


def simulated(
    model: Model, params: Params, batch: Batch, key: jax.Array, *, chains: int = 16, **options: Any
) -> tuple[jax.Array, jax.Array]:
    """A lower and an upper bound of log p of data that the model itself makes, nats `[B]` each.

    Bidirectional Monte Carlo (1511.02543): z that made x is an exact draw of its posterior, from
    which chains may run backwards. Where the two meet, annealing can be trusted on real data too.

    Args:
      model: as for `annealed`.
      params: of the model.
      batch: of the size and form of the data to be made; its values play no part.
      key: of everything.
      chains: that run forwards, and as many backwards.
      **options: of `annealed`.
    """
    z_key, x_key, forward_key, backward_key = jax.random.split(key, 4)
    (node,) = model.encode(params, batch, z_key)
    z = jnp.broadcast_to(node.prior.sample(z_key), node.z.shape)
    x = model.decode(params, (z,), batch).sample(x_key)
    name = next(k for k, v in batch.items() if v is event(batch))
    made = {**batch, name: x}
    lower = annealed(model, params, made, forward_key, chains=chains, **options).log_p
    start = jnp.broadcast_to(z[None], (chains, *z.shape))
    upper = annealed(
        model, params, made, backward_key, chains=chains, posterior=start, **options
    ).log_p
    return lower, upper
