"""TD-VAE (1806.03107): belief states of a sequence, and transitions over several time steps."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.events import check_event, event, event_mask
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Distribution, MonteCarloKL, with_missing
from vaejax.distributions.likelihoods import Likelihood
from vaejax.models.sequence_model import SequenceModel
from vaejax.models.shared import (
    generate_with,
    latent_with_missing,
    make_trace,
    with_likelihood_constants,
)
from vaejax.models.stacked_latents import StackedNetworks, init_stacked, rollout_with, swap_time
from vaejax.models.td_vae_densities import TDVAEDensities, TDVAEParts
from vaejax.models.time_pairs import DeltaDistribution, sample_pairs, sample_present_pairs

__all__ = ["TDVAE", "TDVAEParts", "td_vae"]


@dataclasses.dataclass(frozen=True)
class TDVAE:
    """The functions of the model that `td_vae` returns.

    Attributes:
      densities: of one or two times of a sequence.
      shape: of one sequence, (T, ...).
      latent_dims: of each layer of z, the top first.
      deltas: distribution of δ = t2 − t1.
      num_pairs: P, pairs of times in each sequence.
    """

    densities: TDVAEDensities
    shape: tuple[int, ...]
    latent_dims: tuple[int, ...]
    deltas: DeltaDistribution
    num_pairs: int

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Parameters of all networks."""
        x = event(batch)
        check_event(x, self.shape)
        parts, keys = self.densities.parts, jax.random.split(key, 6)
        belief, b = self.densities.frames.init(keys, x)
        z = jnp.zeros((len(x), sum(self.latent_dims)))
        delta = self.densities.embed_delta(jnp.ones(len(x), jnp.int32))

        def layers(key: jax.Array, networks: StackedNetworks, *inputs: jax.Array) -> Params:
            return init_stacked(key, networks, jnp.concatenate(inputs, axis=1), self.latent_dims)

        return {
            "belief": {**belief, "belief": layers(keys[2], parts.belief, b)},
            "smoothing": layers(keys[3], parts.smoother, z, b, b, delta),
            "transition": layers(keys[4], parts.transition, z, delta),
            "decoder": parts.decoder.init(keys[5], z),
        }

    def forward(
        self, params: Params, batch: Batch, key: jax.Array, step: jax.Array | None
    ) -> Trace:
        """The trace of P pairs of times of each sequence, `[B · P]` rows.

        With a mask, pairs are of times that are present; the rows of sequences without such a pair
        have no nll and no KL.
        """
        x, mask = event(batch), event_mask(batch)
        check_event(x, self.shape)
        pair_key, later_key, key = jax.random.split(key, 3)
        if mask is None:
            t1, t2 = sample_pairs(pair_key, (len(x), self.num_pairs), self.deltas, self.shape[0])
        else:
            t1, t2, valid = sample_present_pairs(pair_key, self.num_pairs, self.deltas, mask)
        b = self.densities.belief_states(params, x, mask)
        b1, b2, delta = _select(b, t1), _select(b, t2), (t2 - t1).reshape(-1)
        latents, z2 = self.densities.pair_latents(params, b1, b2, delta, (later_key, key))
        frames, p = _select(x, t2), self.densities.decode(params, z2)
        if mask is not None:
            valid = valid.reshape(-1)
            p = with_missing(p, frames, valid)
            latents = tuple(latent_with_missing(node, valid) for node in latents)
        return make_trace(frames, p, latents, step)

    def encode(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Latent, ...]:
        """The belief at the end of each sequence, against the transition from one step earlier."""
        mask = event_mask(batch)
        b = self.densities.belief_states(params, event(batch), mask)
        before_key, key = jax.random.split(key)
        b1, b2 = (b[:, -2], b[:, -1]) if mask is None else _last_two(b, mask)
        last = self.densities.sample_belief(params, b2, key)
        before = self.densities.sample_belief(params, b1, before_key)
        one = jnp.ones(b.shape[0], jnp.int32)
        transition = self.densities.sample_transition(
            params, before.zs, one, None, observed=last.zs
        )
        return tuple(map(Latent, last.densities, map(MonteCarloKL, transition.densities), last.zs))

    def sample_continuation(
        self,
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
        mask = event_mask(condition)
        mask = None if mask is None else mask[:n]
        b = self.densities.belief_states(params, event(condition)[:n], mask)
        b = b[:, -1] if mask is None else _last_two(b, mask)[1]
        zs = self.densities.sample_belief(params, b, belief_key, temperature).zs
        rollout = rollout_with(self.densities.sample_transition)
        ones = jnp.ones(self.shape[0], jnp.int32)
        return swap_time(rollout(params, zs, ones, key, temperature))

    def decode_sequences(
        self, params: Params, zs: tuple[jax.Array, ...], condition: Batch | None
    ) -> Distribution:
        """p(x_t | z_t) of the T times of z `[B, T, D]`."""
        p = self.densities.decode(params, [z.reshape(-1, z.shape[-1]) for z in zs])
        length = self.shape[0]
        return jax.tree.map(lambda a: a.reshape(-1, length, *a.shape[1:]) if a.ndim else a, p)


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
    shape = tuple(shape)
    parts = parts._replace(decoder=with_likelihood_constants(parts.decoder, likelihood))
    d = TDVAEDensities(parts, likelihood, shape[1:], deltas.max_delta, condition_on_delta)
    model = TDVAE(d, shape, tuple(latent_dims), deltas, num_pairs)
    sequences = SequenceModel(
        d.belief_states, d.initial_state, d.update_state, d.sample_belief, d.sample_transition,
        rollout_with(d.sample_transition), d.sample_smoothing, deltas.max_delta,
    )  # fmt: skip
    generate = generate_with(model.sample_continuation, model.decode_sequences)
    functions = (model.init, model.forward, model.encode, d.decode, generate)
    return Model(*functions, sequences=sequences, honours_mask=True)


def _select(values: jax.Array, times: jax.Array) -> jax.Array:
    """The values `[B, T, ...]` at the times `[B, P]`, as `[B · P, ...]`."""
    selected = jax.vmap(lambda v, t: v[t])(values, times)
    return selected.reshape(-1, *values.shape[2:])


def _last_two(b: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """b `[B, T, D]` one step before the last time in the mask `[B, T]`, and at that time."""
    last = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)  # [B]
    before, at = (_select(b, jnp.maximum(t, 0)[:, None]) for t in (last - 1, last))
    return before, at
