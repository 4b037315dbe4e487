"""The networks of TD-VAE (1806.03107), and its densities of one or two times of a sequence."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.game import Batch, Latent, Params
from vaejax.core.types import PyTree
from vaejax.distributions import Distribution, MonteCarloKL
from vaejax.distributions.likelihoods import Likelihood
from vaejax.models.frame_aggregator import FrameAggregator
from vaejax.models.sequence_model import LayeredSamples
from vaejax.models.stacked_latents import StackedNetworks, sample_stacked
from vaejax.networks import Network, Recurrent, delta_features

__all__ = ["TDVAEDensities", "TDVAEParts"]


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


@dataclasses.dataclass(frozen=True)
class TDVAEDensities:
    """The densities of TD-VAE, as functions of the parameter groups of `td_vae`.

    Attributes:
      parts: the networks.
      likelihood: p(x_t | z_t).
      frame_shape: of one frame.
      max_delta: the largest δ in training.
      condition_on_delta: whether smoother and transition receive δ.
    """

    parts: TDVAEParts
    likelihood: Likelihood
    frame_shape: tuple[int, ...]
    max_delta: int
    condition_on_delta: bool = True

    @property
    def frames(self) -> FrameAggregator:
        """The part that maps a sequence to its belief states."""
        return FrameAggregator(self.parts.frame_encoder, self.parts.aggregator, self.frame_shape)

    def embed_delta(self, delta: jax.Array) -> jax.Array:
        """δ int32 `[B]` as features `[B, S]`, zeros without `condition_on_delta`."""
        features = delta_features(delta, self.max_delta)
        return features if self.condition_on_delta else jnp.zeros_like(features)

    def belief_states(
        self, params: Params, x: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """b_t `[B, T, D]` of every time, see `FrameAggregator.apply`."""
        return self.frames.apply(params["belief"], x, mask)

    def initial_state(self, params: Params, n: int) -> PyTree:
        """See `SequenceModel`."""
        return self.frames.initial_state(params["belief"], n)

    def update_state(
        self, params: Params, state: PyTree, frame: jax.Array
    ) -> tuple[jax.Array, PyTree]:
        """See `SequenceModel`."""
        return self.frames.step(params["belief"], state, frame)

    def sample_belief(
        self,
        params: Params,
        b: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
        observed: Sequence[jax.Array] | None = None,
    ) -> LayeredSamples:
        """p_B(z_t | b_t), and a sample, unless z_t is `observed`."""
        return sample_stacked(
            self.parts.belief, params["belief"]["belief"], b, key,
            observed=observed, temperature=temperature,
        )  # fmt: skip

    def sample_smoothing(
        self,
        params: Params,
        later: Sequence[jax.Array],
        b1: jax.Array,
        b2: jax.Array,
        delta: jax.Array,
        key: jax.Array | None,
    ) -> LayeredSamples:
        """q_S(z_t1 | z_t2, b_t1, b_t2, δ), and a sample; `later` is z_t2."""
        inputs = jnp.concatenate([*later, b1, b2, self.embed_delta(delta)], axis=1)
        return sample_stacked(self.parts.smoother, params["smoothing"], inputs, key)

    def sample_transition(
        self,
        params: Params,
        zs: Sequence[jax.Array],
        delta: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
        observed: Sequence[jax.Array] | None = None,
    ) -> LayeredSamples:
        """p_T(z_(t+δ) | z_t, δ), and a sample, unless z_(t+δ) is `observed`."""
        inputs = jnp.concatenate([*zs, self.embed_delta(delta)], axis=1)
        return sample_stacked(
            self.parts.transition, params["transition"], inputs, key,
            observed=observed, temperature=temperature,
        )  # fmt: skip

    def pair_latents(
        self, params: Params, b1: jax.Array, b2: jax.Array, delta: jax.Array,
        keys: tuple[jax.Array, jax.Array],
    ) -> tuple[tuple[Latent, ...], tuple[jax.Array, ...]]:  # fmt: skip
        """The nodes of pairs of times (eq. 8), those of z_t2 first, and z_t2.

        Args:
          params: of the model.
          b1: belief states at t1, `[B, D]`.
          b2: belief states at t2, `[B, D]`.
          delta: t2 − t1, int32 `[B]`.
          keys: for z_t2 and for z_t1.
        """
        later = self.sample_belief(params, b2, keys[0])
        earlier = self.sample_smoothing(params, later.zs, b1, b2, delta, keys[1])
        belief = self.sample_belief(params, b1, None, observed=earlier.zs).densities
        transition = self.sample_transition(
            params, earlier.zs, delta, None, observed=later.zs
        ).densities
        estimated = [MonteCarloKL(p) for p in transition]
        nodes = [
            *map(Latent, later.densities, estimated, later.zs),
            *map(Latent, earlier.densities, belief, earlier.zs),
        ]
        return tuple(nodes), later.zs

    def decode(
        self, params: Params, zs: Sequence[jax.Array], condition: Batch | None = None
    ) -> Distribution:
        """p(x_t | z_t) of one time."""
        del condition
        layers = len(self.parts.belief)
        if len(zs) != layers:
            raise ValueError(f"z of one time has {layers} layers, the top first, found {len(zs)}")
        z = jnp.concatenate(tuple(zs), axis=1)
        return self.likelihood.apply(self.parts.decoder.apply(params["decoder"], z))
