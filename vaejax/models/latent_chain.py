"""The latent states of a state-space model: a Markov chain and the filter of its states."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import PyTree
from vaejax.distributions import Normal
from vaejax.models.sequence_model import LayeredSamples
from vaejax.models.stacked_latents import (
    StackedNetworks,
    after_last,
    sample_stacked,
    sample_standard,
    standard_unless,
    standard_where,
    swap_time,
)

__all__ = ["LatentChain"]


@dataclasses.dataclass(frozen=True)
class LatentChain:
    """p(z_t | z_(t−1)) and q(z_t | z_(t−1), x up to t), by the groups `transition` and `belief`.

    Attributes:
      posterior: (b_t, z_(t−1), z_t of the layers above) -> features of q.
      transition: (z_(t−1), z_t of the layers above) -> features of p.
      latent_dims: of each layer of z, the top first.
    """

    posterior: StackedNetworks
    transition: StackedNetworks
    latent_dims: tuple[int, ...]

    def sample_belief(
        self,
        params: Params,
        inputs: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
    ) -> LayeredSamples:
        """q(z_t | z_(t−1), x up to t), and a sample; the inputs are b_t and z_(t−1)."""
        group = params["belief"]["posterior"]
        return sample_stacked(self.posterior, group, inputs, key, temperature=temperature)

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
            self.transition, params["transition"], z, key,
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
