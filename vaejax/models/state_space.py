"""A state-space model: one transition per time step, and the ELBO of a whole sequence."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Normal
from vaejax.distributions.likelihoods import Likelihood
from vaejax.models.sequence_model import LayeredSamples, SequenceModel
from vaejax.models.shared import generate_with, make_trace, with_likelihood_constants
from vaejax.models.stacked_latents import (
    StackedNetworks,
    init_stacked,
    rollout_with,
    sample_stacked,
    swap_time,
)
from vaejax.networks import Network, Recurrent

__all__ = ["StateSpaceParts", "state_space"]


class StateSpaceParts(NamedTuple):
    """The networks of a state-space model; layers of z are top-down.

    Attributes:
      frame_encoder: frames `[N, ...]` -> features `[N, F]`.
      aggregator: features of a sequence -> b_t `[B, T, D]`.
      posterior: (b_t, z_(t−1), z_t of the layers above) -> features of q(z_t | z_(t−1), x up to t).
      transition: (z_(t−1), z_t of the layers above) -> features of p(z_t | z_(t−1)).
      decoder: z_t -> features of p(x_t | z_t).
    """

    frame_encoder: Network
    aggregator: Recurrent
    posterior: StackedNetworks
    transition: StackedNetworks
    decoder: Network


def state_space(
    parts: StateSpaceParts,
    likelihood: Likelihood,
    shape: Sequence[int],
    *,
    latent_dims: Sequence[int],
) -> Model:
    """A state-space model with parameter groups `belief`, `transition` and `decoder`.

    The group `belief` holds the frame encoder, the aggregator and the posterior.

    p(x, z) = Π p(z_t | z_(t−1)) p(x_t | z_t), with N(0, I) in place of the first transition, and
    q(z) = Π q(z_t | z_(t−1), x up to t) (deep Kalman filters, 1511.05121, with a filtering
    inference network). There is one node per layer, with the times of the sequence as an axis:
    z `[B, T, D]`, so the loss is an upper bound of −log p(x) of the whole sequence.

    As a `SequenceModel`, its belief state is b_t concatenated with the mean of z_(t−1), and a
    transition by δ is δ steps. It is the baseline of TD-VAE.

    Args:
      parts: the networks.
      likelihood: p(x_t | z_t).
      shape: of one sequence, (T, ...).
      latent_dims: of each layer of z, the top first.
    """
    length, frame_shape, total = shape[0], tuple(shape[1:]), sum(latent_dims)
    parts = parts._replace(decoder=with_likelihood_constants(parts.decoder, likelihood))

    def encode_frames(params: Params, x: jax.Array) -> jax.Array:
        chex.assert_shape(x, (None, None, *frame_shape))
        group, frames = params["belief"]["frame_encoder"], x.reshape(-1, *frame_shape)
        return parts.frame_encoder.apply(group, frames).reshape(*x.shape[:2], -1)

    def aggregate(params: Params, x: jax.Array) -> jax.Array:
        """b_t `[B, T, D]`."""
        features = encode_frames(params, x)
        return parts.aggregator.apply(params["belief"]["aggregator"], features)

    def sample_belief(
        params: Params,
        inputs: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
    ) -> LayeredSamples:
        group = params["belief"]["posterior"]
        return sample_stacked(parts.posterior, group, inputs, key, temperature=temperature)

    def sample_step(
        params: Params,
        z: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
        observed: Sequence[jax.Array] | None = None,
    ) -> LayeredSamples:
        """p(z_t | z_(t−1)) and a sample from it."""
        return sample_stacked(
            parts.transition, params["transition"], z, key,
            observed=observed, temperature=temperature,
        )  # fmt: skip

    def filter_sequence(
        params: Params, b: jax.Array, key: jax.Array | None
    ) -> tuple[LayeredSamples, LayeredSamples]:
        """q and p at every time, `[B, T, D]` each, from b `[B, T, D]`."""

        def body(z: jax.Array, inputs: Any) -> tuple[jax.Array, Any]:
            b, t = inputs
            step_key = None if key is None else jax.random.fold_in(key, t)
            q = sample_belief(params, jnp.concatenate([b, z], axis=1), step_key)
            p = sample_step(params, z, None, observed=q.zs)
            standard = tuple(
                Normal(jnp.zeros_like(d.loc), jnp.ones_like(d.scale)) for d in p.densities
            )
            p = p._replace(
                densities=jax.tree.map(lambda a, b: jnp.where(t, b, a), standard, p.densities)
            )
            return jnp.concatenate(q.zs, axis=1), (q, p)

        first = jnp.zeros((b.shape[0], total))
        return swap_time(jax.lax.scan(body, first, (swap_time(b), jnp.arange(b.shape[1])))[1])

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        chex.assert_shape(x, (None, *shape))
        keys, z = jax.random.split(key, 5), jnp.zeros((len(x), total))
        frame_encoder = parts.frame_encoder.init(keys[0], x[:, 0])
        features = parts.frame_encoder.apply(frame_encoder, x[:, 0])[:, None]
        aggregator = parts.aggregator.init(keys[1], features)
        b = parts.aggregator.apply(aggregator, features)[:, 0]
        inputs = jnp.concatenate([b, z], axis=1)
        posterior = init_stacked(keys[2], parts.posterior, inputs, latent_dims)
        return {
            "belief": {
                "frame_encoder": frame_encoder,
                "aggregator": aggregator,
                "posterior": posterior,
            },
            "transition": init_stacked(keys[3], parts.transition, z, latent_dims),
            "decoder": parts.decoder.init(keys[4], z),
        }

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        q, p = filter_sequence(params, aggregate(params, event(batch)), key)
        return tuple(map(Latent, q.densities, p.densities, q.zs))

    def decode(params: Params, zs: Sequence[jax.Array], condition: Batch | None = None) -> Any:
        del condition
        if len(zs) != len(latent_dims):
            raise ValueError(f"z has {len(latent_dims)} layers, the top first, found {len(zs)}")
        z = jnp.concatenate(tuple(zs), axis=-1)
        out = parts.decoder.apply(params["decoder"], z.reshape(-1, total))
        return likelihood.apply(out.reshape(*z.shape[:-1], *out.shape[1:]))

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        x = event(batch)
        chex.assert_shape(x, (None, *shape))
        latents = encode(params, batch, key)
        return make_trace(x, decode(params, tuple(node.z for node in latents)), latents, step)

    def belief_states(params: Params, x: jax.Array) -> jax.Array:
        b = aggregate(params, x)
        q, _ = filter_sequence(params, b, None)
        z = jnp.concatenate(q.zs, axis=2)
        previous = jnp.pad(z, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return jnp.concatenate([b, previous], axis=2)

    def initial_state(params: Params, n: int) -> Any:
        state = parts.aggregator.initial_state(params["belief"]["aggregator"], n)
        return state, jnp.zeros((n, total))

    def update_state(params: Params, state: Any, frame: jax.Array) -> tuple[jax.Array, Any]:
        aggregator_state, z = state
        features = encode_frames(params, frame[:, None])[:, 0]
        group = params["belief"]["aggregator"]
        b, aggregator_state = parts.aggregator.step(group, aggregator_state, features)
        belief = jnp.concatenate([b, z], axis=1)
        z = jnp.concatenate(sample_belief(params, belief, None).zs, axis=1)
        return belief, (aggregator_state, z)

    def sample_transition(
        params: Params,
        zs: Sequence[jax.Array],
        delta: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
    ) -> LayeredSamples:
        def body(i: jax.Array, samples: LayeredSamples) -> LayeredSamples:
            step_key = None if key is None else jax.random.fold_in(key, i)
            z = jnp.concatenate(samples.zs, axis=1)
            after = sample_step(params, z, step_key, temperature)
            remaining = (i < delta)[:, None]
            return jax.tree.map(lambda a, b: jnp.where(remaining, a, b), after, samples)

        first = LayeredSamples(tuple(Normal(z, jnp.ones_like(z)) for z in zs), tuple(zs))
        return jax.lax.fori_loop(0, delta.max(), body, first)

    rollout = rollout_with(sample_transition)

    def sample_prior(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
    ) -> tuple[jax.Array, ...]:
        """z `[B, T, D]`: from N(0, I), or the continuation of the sequences in `condition`."""
        first_key, key = jax.random.split(key)
        if condition is None:
            keys = [jax.random.fold_in(first_key, i) for i in range(len(latent_dims))]
            sizes = zip(keys, latent_dims, strict=True)
            first = tuple(temperature * jax.random.normal(k, (n, dim)) for k, dim in sizes)
            ones = jnp.ones(length - 1, jnp.int32)
            later = rollout(params, first, ones, key, temperature)
            pairs = zip(first, later, strict=True)
            return swap_time(tuple(jnp.concatenate([z[None], zs]) for z, zs in pairs))
        b = belief_states(params, event(condition)[:n])[:, -1]
        zs = sample_belief(params, b, first_key, temperature).zs
        return swap_time(rollout(params, zs, jnp.ones(length, jnp.int32), key, temperature))

    sequences = SequenceModel(
        belief_states, initial_state, update_state, sample_belief, sample_transition, rollout,
        sample_smoothing=None, max_delta=1,
    )  # fmt: skip
    generate = generate_with(sample_prior, decode)
    return Model(init, forward, encode, decode, generate, sequences=sequences)
