"""A state-space model: one transition per time step, and the ELBO of a whole sequence."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.events import check_event, event, event_mask
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.core.types import PyTree
from vaejax.distributions import Distribution
from vaejax.distributions.likelihoods import Likelihood
from vaejax.models.frame_aggregator import FrameAggregator
from vaejax.models.latent_chain import LatentChain
from vaejax.models.sequence_model import SequenceModel
from vaejax.models.shared import (
    explained,
    generate_with,
    make_trace,
    with_likelihood_constants,
)
from vaejax.models.stacked_latents import (
    StackedNetworks,
    init_stacked,
    rollout_with,
    sample_standard,
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

    @property
    def chain(self) -> LatentChain:
        """The part that maps b_t to states."""
        return LatentChain(self.parts.posterior, self.parts.transition, self.latent_dims)

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

    def encode(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        """The nodes, with the times of the sequence as an axis."""
        mask = event_mask(batch)
        b = self.frames.apply(params["belief"], event(batch), mask)
        q, p = self.chain.filter_sequence(params, b, key, mask)
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
        q, _ = self.chain.filter_sequence(params, b, None, mask)
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
        z = jnp.concatenate(self.chain.sample_belief(params, belief, None).zs, axis=1)
        return belief, (aggregator_state, z)

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
        length, rollout = self.shape[0], rollout_with(self.chain.sample_transition)
        if condition is None:
            first = sample_standard(first_key, n, self.latent_dims, temperature)
            ones = jnp.ones(length - 1, jnp.int32)
            later = rollout(params, first, ones, key, temperature)
            pairs = zip(first, later, strict=True)
            return swap_time(tuple(jnp.concatenate([z[None], zs]) for z, zs in pairs))
        mask = event_mask(condition)
        mask = None if mask is None else mask[:n]
        b = self.belief_states(params, event(condition)[:n], mask)[:, -1]
        zs = self.chain.sample_belief(params, b, first_key, temperature).zs
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
    transition = model.chain.sample_transition
    sequences = SequenceModel(
        model.belief_states, model.initial_state, model.update_state, model.chain.sample_belief,
        transition, rollout_with(transition), sample_smoothing=None, max_delta=1,
    )  # fmt: skip
    decode, generate = model.decode, generate_with(model.sample_prior, model.decode)
    functions = (model.init, model.forward, model.encode, decode, generate)
    return Model(*functions, sequences=sequences, honours_mask=True)
