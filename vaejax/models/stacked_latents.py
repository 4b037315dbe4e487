"""Layers of z, each given those above it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.distributions import Normal
from vaejax.latents.bottlenecks import soft_normal
from vaejax.models.sequence_model import Draws
from vaejax.networks import Network

Cascade = tuple[Network, ...]  # of each layer of z, the top first


def cascade(
    nets: Cascade,
    params: Mapping[str, Any],
    inputs: jax.Array,
    key: jax.Array | None,
    *,
    given: Sequence[jax.Array] | None = None,
    temperature: float | jax.Array = 1.0,
) -> Draws:
    """Layer after layer, a density and a draw from it, which the layers below are given.

    Args:
      nets: of each layer, `[B, inputs and z of the layers above] -> [B, 2 · dim]`.
      params: theirs.
      inputs: what all of them are given, `[B, F]`.
      key: of the draws; None takes means.
      given: z of every layer, in place of draws.
      temperature: of the draws.
    """
    densities: list[Normal] = []
    zs: list[jax.Array] = []
    for i, net in enumerate(nets):
        own = params[f"layer_{i}"]
        density = soft_normal(net.apply(own, jnp.concatenate([inputs, *zs], axis=1)))
        z = density.loc
        if given is not None:
            z = given[i]
        elif key is not None:
            z = z + temperature * (density.sample(jax.random.fold_in(key, i)) - z)
        densities.append(density)
        zs.append(z)
    return Draws(tuple(densities), tuple(zs))


def init_cascade(
    key: jax.Array, nets: Cascade, inputs: jax.Array, latent_dims: Sequence[int]
) -> Params:
    """Parameters of each layer's network, for inputs `[B, F]`."""
    params: Params = {}
    for i, (net, dim) in enumerate(zip(nets, latent_dims, strict=True)):
        params[f"layer_{i}"] = net.init(jax.random.fold_in(key, i), inputs)
        inputs = jnp.concatenate([inputs, jnp.zeros((len(inputs), dim))], axis=1)
    return params


def rollout_by(jump: Callable[..., Draws]) -> Callable[..., tuple[jax.Array, ...]]:
    """`sequences.SequenceModel.rollout` of a model's `jump`."""

    def rollout(
        params: Params,
        zs: Sequence[jax.Array],
        deltas: jax.Array,
        key: jax.Array | None,
        temperature: float | jax.Array = 1.0,
    ) -> tuple[jax.Array, ...]:
        def body(zs: Any, inputs: Any) -> tuple[Any, Any]:
            delta, number = inputs
            steps = jnp.broadcast_to(delta, zs[0].shape[:1])
            own = None if key is None else jax.random.fold_in(key, number)
            zs = jump(params, zs, steps, own, temperature).zs
            return zs, zs

        return jax.lax.scan(body, tuple(zs), (deltas, jnp.arange(len(deltas))))[1]

    return rollout
