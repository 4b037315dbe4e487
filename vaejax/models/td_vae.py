"""TD-VAE (1806.03107): belief states of a sequence, and transitions over several time steps."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import MonteCarloKL
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
from vaejax.models.time_pairs import DeltaDistribution, sample_pairs
from vaejax.networks import Network, Recurrent, delta_features

__all__ = ["TDVAEParts", "td_vae"]


class TDVAEParts(NamedTuple):
    """The networks of TD-VAE. Layers of z are top-down; each is given those above it.

    Attributes:
      frame_encoder: frames `[N, ...]` -> features `[N, F]`.
      aggregator: features of a sequence -> belief states b_t `[B, T, D]`.
      belief: (b_t, z_t of the layers above) -> features of p_B(z_t | b_t).
      smoother: (z_t2, b_t1, b_t2, δ, z_t1 of the layers above) -> features of q_S(z_t1 | ...).
      transition: (z_t1, δ, z_t2 of the layers above) -> features of p_T(z_t2 | z_t1, δ).
      decoder: z_t -> features of p_D(x_t | z_t).
    """

    frame_encoder: Network
    aggregator: Recurrent
    belief: StackedNetworks
    smoother: StackedNetworks
    transition: StackedNetworks
    decoder: Network


def td_vae(
    parts: TDVAEParts,
    likelihood: Likelihood,
    shape: Sequence[int],
    *,
    latent_dims: Sequence[int],
    deltas: DeltaDistribution,
    num_pairs: int = 1,
    condition_on_delta: bool = True,
) -> Model:
    """TD-VAE with parameter groups `belief`, `smoothing`, `transition` and `decoder`.

    The group `belief` holds the frame encoder, the aggregator and the belief network.

    `forward` samples pairs of times t1 < t2 of each sequence, and its trace has a row for each pair
    (those of a sequence are adjacent): x is the frame at t2, explained by z_t2 ~ p_B(· | b_t2). The
    nodes of z_t2 come first, layer by layer, p_B against p_T(· | z_t1), a one-sample estimate since
    z_t1 was sampled given z_t2; then those of z_t1, q_S against p_B(· | b_t1). Their sum is the
    loss of the paper (eq. 8). For any δ it is at least −log p(x_t2 | b_t1): with exact densities
    equal to it for δ = 1, and above it for larger δ, since b_t2 also depends on the frames in
    between. It is not a bound on log p of a whole sequence.

    `encode` returns the belief at the end of a sequence, with the transition from the belief one
    step earlier as its prior. `generate` continues the sequences in `condition`, step by step, for
    T further steps. `model.sequences` holds the other functions.

    Args:
      parts: the networks.
      likelihood: p(x_t | z_t).
      shape: of one sequence, (T, ...).
      latent_dims: of each layer of z, the top first.
      deltas: distribution of δ = t2 − t1.
      num_pairs: pairs of times in each sequence.
      condition_on_delta: whether smoother and transition receive δ; False is an ablation.
    """
    length, frame_shape = shape[0], tuple(shape[1:])
    parts = parts._replace(decoder=with_likelihood_constants(parts.decoder, likelihood))

    def embed_delta(delta: jax.Array) -> jax.Array:  # [B, S]
        features = delta_features(delta, deltas.max_delta)
        return features if condition_on_delta else jnp.zeros_like(features)

    def encode_frames(params: Params, x: jax.Array) -> jax.Array:  # [B, T, ...] -> [B, T, F]
        chex.assert_shape(x, (None, None, *frame_shape))
        group, frames = params["belief"]["frame_encoder"], x.reshape(-1, *frame_shape)
        return parts.frame_encoder.apply(group, frames).reshape(*x.shape[:2], -1)

    def belief_states(params: Params, x: jax.Array) -> jax.Array:
        features = encode_frames(params, x)
        return parts.aggregator.apply(params["belief"]["aggregator"], features)

    def initial_state(params: Params, n: int) -> Any:
        return parts.aggregator.initial_state(params["belief"]["aggregator"], n)

    def update_state(params: Params, state: Any, frame: jax.Array) -> tuple[jax.Array, Any]:
        features = encode_frames(params, frame[:, None])[:, 0]
        return parts.aggregator.step(params["belief"]["aggregator"], state, features)

    def sample_belief(
        params: Params,
        b: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
        observed: Sequence[jax.Array] | None = None,
    ) -> LayeredSamples:
        return sample_stacked(
            parts.belief, params["belief"]["belief"], b, key,
            observed=observed, temperature=temperature,
        )  # fmt: skip

    def sample_smoothing(
        params: Params,
        later: Sequence[jax.Array],
        b1: jax.Array,
        b2: jax.Array,
        delta: jax.Array,
        key: jax.Array | None,
    ) -> LayeredSamples:
        inputs = jnp.concatenate([*later, b1, b2, embed_delta(delta)], axis=1)
        return sample_stacked(parts.smoother, params["smoothing"], inputs, key)

    def sample_transition(
        params: Params,
        zs: Sequence[jax.Array],
        delta: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
        observed: Sequence[jax.Array] | None = None,
    ) -> LayeredSamples:
        inputs = jnp.concatenate([*zs, embed_delta(delta)], axis=1)
        return sample_stacked(
            parts.transition, params["transition"], inputs, key,
            observed=observed, temperature=temperature,
        )  # fmt: skip

    def decode(params: Params, zs: Sequence[jax.Array], condition: Batch | None = None) -> Any:
        del condition
        if len(zs) != len(latent_dims):
            raise ValueError(
                f"z of one time has {len(latent_dims)} layers, the top first, found {len(zs)}"
            )
        z = jnp.concatenate(tuple(zs), axis=1)
        return likelihood.apply(parts.decoder.apply(params["decoder"], z))

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        chex.assert_shape(x, (None, *shape))
        keys = jax.random.split(key, 6)
        frames = x[:, 0]
        frame_encoder = parts.frame_encoder.init(keys[0], frames)
        features = parts.frame_encoder.apply(frame_encoder, frames)[:, None]
        aggregator = parts.aggregator.init(keys[1], features)
        b = parts.aggregator.apply(aggregator, features)[:, 0]
        z = jnp.zeros((len(x), sum(latent_dims)))
        delta = embed_delta(jnp.ones(len(x), jnp.int32))

        def layers(key: jax.Array, networks: StackedNetworks, *inputs: jax.Array) -> Params:
            return init_stacked(key, networks, jnp.concatenate(inputs, axis=1), latent_dims)

        return {
            "belief": {
                "frame_encoder": frame_encoder,
                "aggregator": aggregator,
                "belief": layers(keys[2], parts.belief, b),
            },
            "smoothing": layers(keys[3], parts.smoother, z, b, b, delta),
            "transition": layers(keys[4], parts.transition, z, delta),
            "decoder": parts.decoder.init(keys[5], z),
        }

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        x = event(batch)
        chex.assert_shape(x, (None, *shape))
        pair_key, later_key, key = jax.random.split(key, 3)
        t1, t2 = sample_pairs(pair_key, (len(x), num_pairs), deltas, length)  # [B, P]

        def select(values: jax.Array, times: jax.Array) -> jax.Array:  # [B, T, ...] -> [B·P, ...]
            selected = jax.vmap(lambda v, t: v[t])(values, times)
            return selected.reshape(-1, *values.shape[2:])

        b = belief_states(params, x)
        b1, b2, delta = select(b, t1), select(b, t2), (t2 - t1).reshape(-1)
        later = sample_belief(params, b2, later_key)
        earlier = sample_smoothing(params, later.zs, b1, b2, delta, key)
        belief = sample_belief(params, b1, None, observed=earlier.zs).densities
        transition = sample_transition(params, earlier.zs, delta, None, observed=later.zs).densities
        nodes = [
            *zip(later.densities, map(MonteCarloKL, transition), later.zs, strict=True),
            *zip(earlier.densities, belief, earlier.zs, strict=True),
        ]
        latents = tuple(Latent(*node) for node in nodes)
        return make_trace(select(x, t2), decode(params, later.zs), latents, step)

    def encode(params: Params, batch: Batch, key: jax.Array) -> tuple[Latent, ...]:
        b = belief_states(params, event(batch))
        before_key, key = jax.random.split(key)
        last = sample_belief(params, b[:, -1], key)
        before = sample_belief(params, b[:, -2], before_key)
        one = jnp.ones(b.shape[0], jnp.int32)
        transition = sample_transition(params, before.zs, one, None, observed=last.zs).densities
        return tuple(map(Latent, last.densities, map(MonteCarloKL, transition), last.zs))

    rollout = rollout_with(sample_transition)

    def sample_continuation(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
    ) -> tuple[jax.Array, ...]:
        """z `[B, T, D]` of each layer after the end of the sequences in `condition`."""
        if condition is None:
            raise ValueError("TD-VAE generates continuations: pass sequences as the condition")
        belief_key, key = jax.random.split(key)
        b = belief_states(params, event(condition)[:n])[:, -1]
        zs = sample_belief(params, b, belief_key, temperature).zs
        return swap_time(rollout(params, zs, jnp.ones(length, jnp.int32), key, temperature))

    def decode_sequences(params: Params, zs: tuple[jax.Array, ...], condition: Batch | None) -> Any:
        p = decode(params, [z.reshape(-1, z.shape[-1]) for z in zs])
        return jax.tree.map(lambda a: a.reshape(-1, length, *a.shape[1:]) if a.ndim else a, p)

    sequences = SequenceModel(
        belief_states, initial_state, update_state, sample_belief, sample_transition, rollout,
        sample_smoothing, deltas.max_delta,
    )  # fmt: skip
    generate = generate_with(sample_continuation, decode_sequences)
    return Model(init, forward, encode, decode, generate, sequences=sequences)
