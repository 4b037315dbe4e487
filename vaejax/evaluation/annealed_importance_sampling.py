"""Annealed importance sampling: log p(x) where the posterior is far from q, and rate–distortion.

From the prior to the posterior through π_β ∝ p(z) p(x | z)^β, with one Hamiltonian transition at
each β (Neal 2001; Wu et al., 1611.04273, section 3). The encoder is not used.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.distribution import Distribution
from vaejax.core.events import event
from vaejax.core.game import Batch, Model, Params
from vaejax.losses import event_log_prob, sum_event

__all__ = [
    "AnnealedEstimate",
    "annealed_importance_sampling",
    "beta_schedule",
    "bidirectional_monte_carlo",
]

_STEP_GROWTH = 1.02  # factor of a step size after an accepted transition
_TARGET_ACCEPTANCE = 0.65


class AnnealedEstimate(NamedTuple):
    """Estimates of annealed importance sampling for each example, in nats.

    Attributes:
      log_p: the estimate of log p(x) `[B]`; on average a lower bound when chains start from the
        prior, an upper one when they start from the posterior.
      beta: the T temperatures in the order of the chain, from the first above 0 to 1 (from below 1
        to 0 in reverse).
      distortion: E −log p(x | z) under π_β, by the weights of the chains, `[T, B]`.
      rate: estimate of KL(π_β ‖ p(z)), `[T, B]` (Huang et al., 2008.06653, eq. 9).
      accepted: fraction of accepted transitions, `[T]`.
    """

    log_p: jax.Array
    beta: jax.Array
    distortion: jax.Array
    rate: jax.Array
    accepted: jax.Array


def beta_schedule(temperatures: int) -> jax.Array:
    """β from 0 to 1, `[temperatures + 1]`, dense at both ends: a sigmoid from −4 to 4, rescaled."""
    s = jax.nn.sigmoid(jnp.linspace(-4.0, 4.0, temperatures + 1))
    return (s - s[0]) / (s[-1] - s[0])


class _State(NamedTuple):
    """Chains of B examples: z `[B, ...]`, the size of their steps and their log-weights `[B]`."""

    z: jax.Array
    size: jax.Array
    weight: jax.Array


@dataclasses.dataclass(frozen=True)
class _Target:
    """The densities that chains pass through, π_β ∝ p(z) p(x | z)^β, for B examples.

    Attributes:
      model: whose decoder.
      params: of it.
      batch: the examples.
      prior: p(z).
      leapfrog: steps of a transition.
    """

    model: Model
    params: Params
    batch: Batch
    prior: Distribution
    leapfrog: int

    def log_likelihood(self, z: jax.Array) -> jax.Array:
        """log p(x | z), `[B]`."""
        return event_log_prob(self.model.decode(self.params, (z,), self.batch), event(self.batch))

    def energy(self, z: jax.Array, beta: jax.Array) -> jax.Array:
        """−log π_β(z) up to a constant, `[B]`."""
        return -event_log_prob(self.prior, z) - beta * self.log_likelihood(z)

    def leap(
        self, z: jax.Array, momentum: jax.Array, step: jax.Array, beta: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Position and momentum after the leapfrog steps of one trajectory."""
        gradient = jax.grad(lambda z: self.energy(z, beta).sum())

        def leapfrog_step(
            _: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            proposal, p, g = state
            p = p - 0.5 * step * g
            proposal = proposal + step * p
            g = gradient(proposal)
            return proposal, p - 0.5 * step * g, g

        start = z, momentum, gradient(z)
        proposal, p, _ = jax.lax.fori_loop(0, self.leapfrog, leapfrog_step, start)
        return proposal, p

    def transition(
        self, z: jax.Array, size: jax.Array, beta: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """One Hamiltonian transition: z, the next sizes of steps, and which are accepted `[B]`."""
        momentum_key, accept_key, jitter_key = jax.random.split(key, 3)
        # Random trajectory lengths: one of exactly a period of a Gaussian ends where it started.
        jittered = size * jax.random.uniform(jitter_key, size.shape, minval=0.6, maxval=1.0)
        step = jittered.reshape(-1, *(1,) * (z.ndim - 1))
        momentum = jax.random.normal(momentum_key, z.shape)
        proposal, p = self.leap(z, momentum, step, beta)
        log_ratio = self.energy(z, beta) - self.energy(proposal, beta)
        log_ratio = log_ratio + 0.5 * (sum_event(jnp.square(momentum)) - sum_event(jnp.square(p)))
        # A comparison with NaN is false, which rejects the proposal.
        accepts = jnp.log(jax.random.uniform(accept_key, log_ratio.shape)) < log_ratio
        z = jnp.where(accepts.reshape(step.shape), proposal, z)
        # Stationary at the target acceptance a: a · log growth + (1 − a) · log shrinkage = 0.
        factor = jnp.where(
            accepts, _STEP_GROWTH ** (1 - _TARGET_ACCEPTANCE), _STEP_GROWTH**-_TARGET_ACCEPTANCE
        )
        return z, jnp.clip(size * factor, 1e-4, 2.0), accepts

    def chain(
        self, key: jax.Array, state: _State, betas: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Log-weights, distortions and acceptances along the temperatures, `[T, B]` each."""

        def anneal(
            state: _State, inputs: tuple[jax.Array, jax.Array, jax.Array]
        ) -> tuple[_State, tuple[jax.Array, jax.Array, jax.Array]]:
            previous, beta, number = inputs
            weight = state.weight + (beta - previous) * self.log_likelihood(state.z)
            fold = jax.random.fold_in(key, number)
            z, size, accepts = self.transition(state.z, state.size, beta, fold)
            return _State(z, size, weight), (weight, -self.log_likelihood(z), accepts)

        inputs = betas[:-1], betas[1:], jnp.arange(len(betas) - 1)
        return jax.lax.scan(anneal, state, inputs)[1]


def annealed_importance_sampling(
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
) -> AnnealedEstimate:
    """Estimates log p(x) with `chains` annealed chains for each example, all in parallel.

    Step sizes are adapted along each chain; the estimates are therefore bounds on average only in
    the limit of many temperatures (as in 1611.04273).

    Args:
      model: with one continuous node whose prior can be sampled.
      params: of the model.
      batch: B examples.
      key: of all random numbers.
      temperatures: T.
      chains: C of each example.
      leapfrog: steps of a transition.
      step_size: of the first transition.
      posterior: exact samples of the posterior `[C, B, ...]` as starting points of chains that run
        backwards from β = 1 to 0; available for data that the model itself generated, see
        `bidirectional_monte_carlo`. None starts from the prior.

    Raises:
      ValueError: the model does not have exactly one continuous node.
    """
    size, first_key, key = len(event(batch)), *jax.random.split(key)
    latents = model.encode(params, batch, first_key)
    if len(latents) != 1 or not jnp.issubdtype(latents[0].z.dtype, jnp.floating):
        raise ValueError(
            "annealed importance sampling needs a model with one continuous node, this one has "
            f"{len(latents)}; importance sampling (evaluate.importance_samples) takes any number"
        )
    target = _Target(model, params, batch, latents[0].prior, leapfrog)
    betas = beta_schedule(temperatures)
    betas = betas if posterior is None else betas[::-1]

    def chain(key: jax.Array, start: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
        start_key, key = jax.random.split(key)
        z = target.prior.sample(start_key) if start is None else start
        z = jnp.broadcast_to(z, latents[0].z.shape)
        return target.chain(key, _State(z, jnp.full(size, step_size), jnp.zeros(size)), betas)

    in_axes = (0, None if posterior is None else 0)
    mapped = jax.vmap(chain, in_axes)(jax.random.split(key, chains), posterior)
    return _estimate(*mapped, betas, forwards=posterior is None)


def _estimate(
    weights: jax.Array,
    distortion: jax.Array,
    accepts: jax.Array,
    betas: jax.Array,
    *,
    forwards: bool,
) -> AnnealedEstimate:
    """The estimates from log-weights, distortions and acceptances of chains, `[C, T, B]` each."""
    log_mean = jax.nn.logsumexp(weights, axis=0) - jnp.log(float(len(weights)))  # [T, B]
    log_z = log_mean if forwards else -log_mean
    # The states of the chains lag behind π_β; their weights correct for it.
    distortion = (jax.nn.softmax(weights, axis=0) * distortion).sum(axis=0)
    # The log normaliser of π_β relative to the prior.
    log_normalizer = log_z if forwards else log_z[-1][None] - log_z
    rate = -betas[1:, None] * distortion - log_normalizer
    accepted = accepts.astype(jnp.float32).mean(axis=(0, 2))
    return AnnealedEstimate(log_z[-1], betas[1:], distortion, rate, accepted)


def bidirectional_monte_carlo(
    model: Model, params: Params, batch: Batch, key: jax.Array, *, chains: int = 16, **options: Any
) -> tuple[jax.Array, jax.Array]:
    """A lower and an upper bound of log p(x) of data sampled from the model, nats `[B]` each.

    Bidirectional Monte Carlo (1511.02543): the z that generated x is an exact sample of its
    posterior, from which chains can run backwards. A small gap between the bounds is evidence that
    annealing is also accurate on real data.

    Args:
      model: as for `annealed_importance_sampling`.
      params: of the model.
      batch: gives the number and the shape of the examples to generate; its events are not used.
      key: of all random numbers.
      chains: that run forwards, and as many backwards.
      **options: of `annealed_importance_sampling`.
    """
    z_key, x_key, forward_key, backward_key = jax.random.split(key, 4)
    (node,) = model.encode(params, batch, z_key)
    z = jnp.broadcast_to(node.prior.sample(z_key), node.z.shape)
    x = model.decode(params, (z,), batch).sample(x_key)
    name = next(k for k, v in batch.items() if v is event(batch))
    generated = {**batch, name: x}

    def log_p(key: jax.Array, posterior: jax.Array | None = None) -> jax.Array:
        return annealed_importance_sampling(
            model, params, generated, key, chains=chains, posterior=posterior, **options
        ).log_p

    start = jnp.broadcast_to(z[None], (chains, *z.shape))
    return log_p(forward_key), log_p(backward_key, start)
