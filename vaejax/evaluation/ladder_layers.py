"""What the layers of a ladder represent: KL, top-layer reconstructions, resampled lower layers."""

import inspect
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.game import Family, Latent, Params
from vaejax.distributions import capabilities_of, kl
from vaejax.distributions.point_estimate import point_estimate
from vaejax.losses import sum_event

__all__ = ["is_ladder", "layer_kl", "reconstruct_from_top", "resample_lower_layers"]


def is_ladder(family: Family, latents: Sequence[Latent]) -> bool:
    """Whether the model has several continuous layers and can decode the top ones alone."""
    arguments = inspect.signature(family.model.decode).parameters
    continuous = all(capabilities_of(node.posterior).continuous for node in latents)
    return len(latents) > 1 and continuous and {"key", "temperature"} <= arguments.keys()


def layer_kl(latents: Sequence[Latent]) -> jax.Array:
    """KL of each layer in nats, averaged over the examples `[L]`, top-down."""
    return jnp.stack([sum_event(kl(n.posterior, n.prior, n.z)).mean() for n in latents])


def reconstruct_from_top(
    family: Family, params: Params, zs: tuple[jax.Array, ...], top: Sequence[int]
) -> jax.Array:
    """Reconstructions `[K, B, ...]` from the top layers; lower ones are at their prior means.

    Args:
      family: whose decoder.
      params: of the model.
      zs: of every layer, top-down.
      top: K numbers of top layers.
    """
    decode = jax.jit(lambda p, zs: point_estimate(family.model.decode(p, zs)))
    return jnp.stack([decode(params, zs[:k]) for k in top])


def resample_lower_layers(
    family: Family,
    params: Params,
    zs: tuple[jax.Array, ...],
    top: Sequence[int],
    samples: int,
    key: jax.Array,
) -> jax.Array:
    """Reconstructions `[K, S, B, ...]` with the top layers fixed and lower ones sampled.

    Args:
      family: whose decoder.
      params: of the model.
      zs: of every layer, top-down.
      top: K numbers of top layers.
      samples: S, of the lower layers.
      key: of the samples.
    """

    @jax.jit
    def resample(params: Params, zs: tuple[jax.Array, ...], keys: jax.Array) -> jax.Array:
        return jax.lax.map(
            lambda k: point_estimate(family.model.decode(params, zs, None, k, 1.0)), keys
        )

    keys = jax.random.split(key, samples)
    return jnp.stack([resample(params, zs[:k], keys) for k in top])
