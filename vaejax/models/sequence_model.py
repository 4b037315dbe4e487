"""The interface of sequence models: filtering, smoothing, transitions and rollouts."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from vaejax.core.types import PyTree
from vaejax.distributions import Normal

__all__ = ["LayeredSamples", "SequenceModel"]


class LayeredSamples(NamedTuple):
    """The density of each layer of z, the top first, and a sample of each.

    The density of a layer is conditional on the samples of the layers above.
    """

    densities: tuple[Normal, ...]
    zs: tuple[jax.Array, ...]  # [B, D] each


class SequenceModel(NamedTuple):
    """Pure functions over the latent state z_t; `Model.decode` maps z_t to p(x_t | z_t).

    A belief state b_t summarises the frames up to time t. For functions with a key, None returns
    means in place of samples.

    Attributes:
      belief_states: `(params, x [B, T, ...]) -> b [B, T, D]`, of every time.
      initial_state: `(params, n) -> state` of a stream before its first frame.
      update_state: `(params, state, frame [B, ...]) -> (b [B, D], state)`: filtering, one step.
      sample_belief: `(params, b [B, D], key, temperature=1) -> LayeredSamples`: z_t given the
        frames up to t.
      sample_transition: `(params, zs, δ int32 [B], key, temperature=1) -> LayeredSamples`: z_(t+δ)
        given z_t.
      rollout: `(params, zs, δ int32 [S], key, temperature=1) -> zs [S, B, D]`: S successive
        transitions; with δ = 1 one per time step.
      sample_smoothing: `(params, zs of t2, b_t1, b_t2, δ int32 [B], key) -> LayeredSamples`: z_t1
        given z_t2 and the frames up to t2; None for models without this density.
      max_delta: the largest δ in training.
    """

    belief_states: Callable[..., jax.Array]
    initial_state: Callable[..., PyTree]
    update_state: Callable[..., tuple[jax.Array, PyTree]]
    sample_belief: Callable[..., LayeredSamples]
    sample_transition: Callable[..., LayeredSamples]
    rollout: Callable[..., tuple[jax.Array, ...]]
    sample_smoothing: Callable[..., LayeredSamples] | None
    max_delta: int
