"""The dense networks of LVAE."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.ladder_types import LadderNetworks, StageNetworks
from vaejax.networks.layers import activation
from vaejax.networks.network import Network, from_linen

__all__ = ["dense_ladder"]


class _Hidden(linen.Module):
    """Two dense layers, and a third with `out_features` outputs if that is not 0."""

    hidden: int
    out_features: int
    activation: str

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        act = activation(self.activation)
        for _ in range(2):
            x = act(linen.Dense(self.hidden)(x))
        return linen.Dense(self.out_features)(x) if self.out_features else x


class _DenseBottomUp(linen.Module):
    """A sequence of perceptrons: the activations after each, the last first."""

    hidden: Sequence[int]  # from the top
    activation: str

    @linen.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        x = x.reshape(x.shape[0], -1)
        activations: list[jax.Array] = []
        for width in reversed(self.hidden):
            x = _Hidden(width, 0, self.activation)(x)
            activations.insert(0, x)
        return tuple(activations)


class _Head(linen.Module):
    """A linear map of the bottom-up activations, which ignores h."""

    out_features: int

    @linen.compact
    def __call__(self, h: jax.Array, activations: jax.Array) -> jax.Array:
        del h
        return linen.Dense(self.out_features)(activations)


class _Output(linen.Module):
    """A perceptron from h to the features of an event, `[B, *out_shape]`."""

    hidden: int
    out_shape: Sequence[int]
    activation: str

    @linen.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        y = _Hidden(self.hidden, math.prod(self.out_shape), self.activation)(h)
        return y.reshape(-1, *self.out_shape)


_IDENTITY = Network(lambda key, h: {}, lambda params, h: h)
# h of the next stage is z itself.
_REPLACE_H_BY_Z = Network(lambda key, h, residual, z: {}, lambda params, h, residual, z: z)


def _zeros(width: int) -> Network:
    """Zeros `[n, width]`, without parameters."""
    return Network(lambda key, x: {}, lambda params, x: jnp.zeros((x.shape[0], width)))


def dense_ladder(
    shape: Sequence[int],
    out_channels: int,
    *,
    latent_dims: Sequence[int] = (16, 32, 64),
    hidden: Sequence[int] = (128, 256, 512),
    activation: str = "leaky_relu",
) -> LadderNetworks:
    """LVAE (1602.02282, section 3): a two-layer perceptron between neighbouring latents.

    The prior of each latent depends on the one directly above only; that of the top is N(0, I).
    The paper's batch norm is left out, since networks here have no state.

    Args:
      shape: of one event.
      out_channels: channels of the output, in place of the event's own.
      latent_dims: dimensions of each latent, the top first.
      hidden: widths of the perceptrons of each latent, the top first.
      activation: between layers.
    """
    stages = []
    for i, (dim, width) in enumerate(zip(latent_dims, hidden, strict=True)):
        # Zeros are the features of N(0, I), see `bottlenecks.soft_normal`.
        prior = from_linen(_Hidden(width, 2 * dim, activation)) if i else _zeros(2 * dim)
        enter = _IDENTITY if i else _zeros(dim)
        posterior = from_linen(_Head(2 * dim))
        stages.append(StageNetworks(1, enter, prior, posterior, _REPLACE_H_BY_Z))
    return LadderNetworks(
        from_linen(_DenseBottomUp(tuple(hidden), activation)),
        tuple(stages),
        from_linen(_Output(hidden[-1], (*shape[:-1], out_channels), activation)),
        tuple(latent_dims),
    )
