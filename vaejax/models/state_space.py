"""A state-space model: one transition per time step, and the ELBO of a whole sequence."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import check_event, event, event_mask
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.core.types import PyTree
from vaejax.distributions import Distribution, Normal
from vaejax.distributions.likelihoods import Likelihood
from vaejax.models.frame_aggregator import FrameAggregator
from vaejax.models.sequence_model import LayeredSamples, SequenceModel
from vaejax.models.shared import (
    explained,
    generate_with,
    make_trace,
    with_likelihood_constants,
)
from vaejax.models.stacked_latents import (
    StackedNetworks,
    after_last,
    init_stacked,
    rollout_with,
    sample_stacked,
    sample_standard,
    standard_unless,
    standard_where,
    swap_time,
)
from vaejax.networks import Network, Recurrent

__all__ = ["StateSpace", "StateSpaceParts", "state_space"]


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


@dataclasses.dataclass(frozen=True)
class StateSpace:
    """The functions of the model that `state_space` returns.

    Attributes:
      parts: the networks.
      likelihood: p(x_t | z_t).
      shape: of one sequence, (T, ...).
      latent_dims: of each layer of z, the top first.
    """

    parts: StateSpaceParts
    likelihood: Likelihood
    shape: tuple[int, ...]
    latent_dims: tuple[int, ...]

    @property
    def frames(self) -> FrameAggregator:
        """The part that maps a sequence to b_t."""
        return FrameAggregator(self.parts.frame_encoder, self.parts.aggregator, self.shape[1:])

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Parameters of all networks."""
        x = event(batch)
        check_event(x, self.shape)
        keys, z = jax.random.split(key, 5), jnp.zeros((len(x), sum(self.latent_dims)))
        belief, b = self.frames.init(keys, x)
        inputs = jnp.concatenate([b, z], axis=1)
        posterior = init_stacked(keys[2], self.parts.posterior, inputs, self.latent_dims)
        return {
            "belief": {**belief, "posterior": posterior},
            "transition": init_stacked(keys[3], self.parts.transition, z, self.latent_dims),
            "decoder": self.parts.decoder.init(keys[4], z),
        }

    def sample_belief(
        self,
        params: Params,
        inputs: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
    ) -> LayeredSamples:
        """q(z_t | z_(t−1), x up to t), and a sample; the inputs are b_t and z_(t−1)."""
        group = params["belief"]["posterior"]
        return sample_stacked(self.parts.posterior, group, inputs, key, temperature=temperature)

    def sample_step(
        self,
        params: Params,
        z: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
        observed: Sequence[jax.Array] | None = None,
    ) -> LayeredSamples:
        """p(z_t | z_(t−1)), and a sample, unless z_t is `observed`."""
        return sample_stacked(
            self.parts.transition, params["transition"], z, key,
            observed=observed, temperature=temperature,
        )  # fmt: skip

    def filter_sequence(
        self, params: Params, b: jax.Array, key: jax.Array | None, mask: jax.Array | None = None
    ) -> tuple[LayeredSamples, LayeredSamples]:
        """q and p at every time, `[B, T, D]` each, from b `[B, T, D]`.

        Where a frame is missing from the mask, bool `[B, T]`, q is the transition p, so that the
        KL is 0; after the last frame nothing changes any more.
        """

        def body(z: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, PyTree]:
            b, t, *missing = inputs
            step_key = None if key is None else jax.random.fold_in(key, t)
            q = self.sample_belief(params, jnp.concatenate([b, z], axis=1), step_key)
            if missing:
                q = self._without_frames(params, z, q, step_key, t, *missing)
            p = standard_unless(t, self.sample_step(params, z, None, observed=q.zs))
            return jnp.concatenate(q.zs, axis=1), (q, p)

        first = jnp.zeros((b.shape[0], sum(self.latent_dims)))
        inputs: tuple[jax.Array, ...] = (swap_time(b), jnp.arange(b.shape[1]))
        if mask is not None:
            inputs = (*inputs, ~mask.T, after_last(mask).T)
        q, p = swap_time(jax.lax.scan(body, first, inputs)[1])
        if mask is None:
            return q, p
        return standard_where(~mask, q), standard_where(~mask, p)

    def _without_frames(
        self,
        params: Params,
        z: jax.Array,
        q: LayeredSamples,
        key: jax.Array | None,
        t: jax.Array,
        missing: jax.Array,
        ended: jax.Array,
    ) -> LayeredSamples:
        """q at time t, with samples of the transition where a frame is `missing`, bool `[B]`."""
        after = self.sample_step(params, z, key)
        standard = tuple(jnp.zeros_like(a) for a in after.zs)
        if key is not None:  # the first state is N(0, I), which is not a transition
            standard = sample_standard(key, z.shape[0], self.latent_dims, 1.0)
        before = jnp.split(z, np.cumsum(self.latent_dims)[:-1], axis=1)
        zs = []
        for sample, first, last, filtered in zip(after.zs, standard, before, q.zs, strict=True):
            skipped = jnp.where(ended[:, None], last, jnp.where(t > 0, sample, first))
            zs.append(jnp.where(missing[:, None], skipped, filtered))
        return q._replace(zs=tuple(zs))

    def encode(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        """The nodes, with the times of the sequence as an axis."""
        mask = event_mask(batch)
        b = self.frames.apply(params["belief"], event(batch), mask)
        q, p = self.filter_sequence(params, b, key, mask)
        return tuple(map(Latent, q.densities, p.densities, q.zs))

    def decode(
        self, params: Params, zs: Sequence[jax.Array], condition: Batch | None = None
    ) -> Distribution:
        """p(x_t | z_t) of z of one time `[B, D]` or of all times `[B, T, D]`."""
        layers = len(self.latent_dims)
        if len(zs) != layers:
            raise ValueError(f"z has {layers} layers, the top first, found {len(zs)}")
        z = jnp.concatenate(tuple(zs), axis=-1)
        out = self.parts.decoder.apply(params["decoder"], z.reshape(-1, z.shape[-1]))
        p = self.likelihood.apply(out.reshape(*z.shape[:-1], *out.shape[1:]))
        return explained(p, condition) if z.ndim == 3 else p

    def forward(
        self, params: Params, batch: Batch, key: jax.Array, step: jax.Array | None
    ) -> Trace:
        """The trace of whole sequences."""
        x = event(batch)
        check_event(x, self.shape)
        latents = self.encode(params, batch, key)
        p = self.decode(params, tuple(node.z for node in latents), batch)
        return make_trace(x, p, latents, step)

    def belief_states(
        self, params: Params, x: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """b_t with the mean of z_(t−1) of every time, `[B, T, D]`."""
        b = self.frames.apply(params["belief"], x, mask)
        q, _ = self.filter_sequence(params, b, None, mask)
        z = jnp.concatenate(q.zs, axis=2)
        previous = jnp.pad(z, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return jnp.concatenate([b, previous], axis=2)

    def initial_state(self, params: Params, n: int) -> PyTree:
        """See `SequenceModel`."""
        state = self.frames.initial_state(params["belief"], n)
        return state, jnp.zeros((n, sum(self.latent_dims)))

    def update_state(
        self, params: Params, state: PyTree, frame: jax.Array
    ) -> tuple[jax.Array, PyTree]:
        """See `SequenceModel`."""
        aggregator_state, z = state
        b, aggregator_state = self.frames.step(params["belief"], aggregator_state, frame)
        belief = jnp.concatenate([b, z], axis=1)
        z = jnp.concatenate(self.sample_belief(params, belief, None).zs, axis=1)
        return belief, (aggregator_state, z)

    def sample_transition(
        self,
        params: Params,
        zs: Sequence[jax.Array],
        delta: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
    ) -> LayeredSamples:
        """p(z_(t+δ) | z_t) given samples of the states in between: δ steps."""

        def body(i: jax.Array, samples: LayeredSamples) -> LayeredSamples:
            step_key = None if key is None else jax.random.fold_in(key, i)
            z = jnp.concatenate(samples.zs, axis=1)
            after = self.sample_step(params, z, step_key, temperature)
            remaining = (i < delta)[:, None]
            return jax.tree.map(lambda a, b: jnp.where(remaining, a, b), after, samples)

        first = LayeredSamples(tuple(Normal(z, jnp.ones_like(z)) for z in zs), tuple(zs))
        return jax.lax.fori_loop(0, delta.max(), body, first)

    def sample_prior(
        self,
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
    ) -> tuple[jax.Array, ...]:
        """z `[B, T, D]`: from N(0, I), or the continuation of the sequences in `condition`."""
        first_key, key = jax.random.split(key)
        length, rollout = self.shape[0], rollout_with(self.sample_transition)
        if condition is None:
            first = sample_standard(first_key, n, self.latent_dims, temperature)
            ones = jnp.ones(length - 1, jnp.int32)
            later = rollout(params, first, ones, key, temperature)
            pairs = zip(first, later, strict=True)
            return swap_time(tuple(jnp.concatenate([z[None], zs]) for z, zs in pairs))
        mask = event_mask(condition)
        mask = None if mask is None else mask[:n]
        b = self.belief_states(params, event(condition)[:n], mask)[:, -1]
        zs = self.sample_belief(params, b, first_key, temperature).zs
        return swap_time(rollout(params, zs, jnp.ones(length, jnp.int32), key, temperature))


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
    parts = parts._replace(decoder=with_likelihood_constants(parts.decoder, likelihood))
    model = StateSpace(parts, likelihood, tuple(shape), tuple(latent_dims))
    sequences = SequenceModel(
        model.belief_states, model.initial_state, model.update_state, model.sample_belief,
        model.sample_transition, rollout_with(model.sample_transition), sample_smoothing=None,
        max_delta=1,
    )  # fmt: skip
    decode, generate = model.decode, generate_with(model.sample_prior, model.decode)
    functions = (model.init, model.forward, model.encode, decode, generate)
    return Model(*functions, sequences=sequences, honours_mask=True)
