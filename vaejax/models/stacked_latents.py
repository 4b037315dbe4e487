"""Layers of z at one time, each given those above it, and their sampling over time."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.core.types import PyTree
from vaejax.distributions import Normal
from vaejax.latents.bottlenecks import soft_normal
from vaejax.models.sequence_model import LayeredSamples
from vaejax.networks import Network

__all__ = [
    "StackedNetworks",
    "after_last",
    "init_stacked",
    "rollout_with",
    "sample_stacked",
    "sample_standard",
    "standard_unless",
    "standard_where",
    "swap_time",
]

StackedNetworks = tuple[Network, ...]  # one for each layer of z, the top first


def sample_stacked(
    networks: StackedNetworks,
    params: Params,
    inputs: jax.Array,
    key: jax.Array | None,
    *,
    observed: Sequence[jax.Array] | None = None,
    temperature: float | jax.Array = 1.0,
) -> LayeredSamples:
    """The density of each layer and a sample from it, which conditions the layers below.

    Args:
      networks: of each layer, `[B, inputs and z of the layers above] -> [B, 2 · dim]`.
      params: of the networks, by layer.
      inputs: common to all layers, `[B, F]`.
      key: for the samples; None for means.
      observed: values of z in every layer, in place of samples.
      temperature: of the samples.
    """
    densities: list[Normal] = []
    zs: list[jax.Array] = []
    for i, network in enumerate(networks):
        features = network.apply(params[f"layer_{i}"], jnp.concatenate([inputs, *zs], axis=1))
        density = soft_normal(features)
        z = density.loc
        if observed is not None:
            z = observed[i]
        elif key is not None:
            z = z + temperature * (density.sample(jax.random.fold_in(key, i)) - z)
        densities.append(density)
        zs.append(z)
    return LayeredSamples(tuple(densities), tuple(zs))


def init_stacked(
    key: jax.Array, networks: StackedNetworks, inputs: jax.Array, latent_dims: Sequence[int]
) -> Params:
    """Parameters of each layer's network, for inputs `[B, F]`."""
    params: Params = {}
    for i, (network, dim) in enumerate(zip(networks, latent_dims, strict=True)):
        params[f"layer_{i}"] = network.init(jax.random.fold_in(key, i), inputs)
        inputs = jnp.concatenate([inputs, jnp.zeros((len(inputs), dim))], axis=1)
    return params


def sample_standard(
    key: jax.Array, n: int, latent_dims: Sequence[int], temperature: float | jax.Array
) -> tuple[jax.Array, ...]:
    """Samples `[n, D]` of each layer from N(0, I)."""
    keys = [jax.random.fold_in(key, i) for i in range(len(latent_dims))]
    sizes = zip(keys, latent_dims, strict=True)
    return tuple(temperature * jax.random.normal(k, (n, dim)) for k, dim in sizes)


def standard_unless(condition: jax.Array, samples: LayeredSamples) -> LayeredSamples:
    """The samples with N(0, I) in place of their densities where the condition `[]` is false."""
    standard = tuple(
        Normal(jnp.zeros_like(d.loc), jnp.ones_like(d.scale)) for d in samples.densities
    )
    densities = jax.tree.map(lambda a, b: jnp.where(condition, b, a), standard, samples.densities)
    return samples._replace(densities=densities)


def rollout_with(
    sample_transition: Callable[..., LayeredSamples],
) -> Callable[..., tuple[jax.Array, ...]]:
    """`SequenceModel.rollout` of a model's `sample_transition`."""

    def rollout(
        params: Params,
        zs: Sequence[jax.Array],
        deltas: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
    ) -> tuple[jax.Array, ...]:
        def body(
            zs: tuple[jax.Array, ...], inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
            delta, number = inputs
            delta = jnp.broadcast_to(delta, zs[0].shape[:1])
            step_key = None if key is None else jax.random.fold_in(key, number)
            zs = sample_transition(params, zs, delta, step_key, temperature).zs
            return zs, zs

        return jax.lax.scan(body, tuple(zs), (deltas, jnp.arange(len(deltas))))[1]

    return rollout


def swap_time(tree: PyTree) -> PyTree:
    """Swaps the axes of batch and time of every array, between `[B, T, ...]` and `[T, B, ...]`."""
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), tree)


def after_last(mask: jax.Array) -> jax.Array:
    """Which times are after the last one in the mask, bool `[B, T]` each."""
    later = jnp.cumsum(mask[:, ::-1], axis=1)[:, ::-1]  # number of frames from a time on
    return later == 0


def standard_where(missing: jax.Array, samples: LayeredSamples) -> LayeredSamples:
    """N(0, I) in place of the densities `[B, T, D]` where a frame is missing, bool `[B, T]`."""

    def fill(a: jax.Array, value: float) -> jax.Array:
        return jnp.where(missing[..., None], value, a)

    densities = tuple(Normal(fill(d.loc, 0.0), fill(d.scale, 1.0)) for d in samples.densities)
    return samples._replace(densities=densities)
