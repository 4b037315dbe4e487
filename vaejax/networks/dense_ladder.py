"""The dense networks of LVAE."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.networks.ladder_types import LadderNetworks, StageNetworks
from vaejax.networks.layers import activation
from vaejax.networks.network import Network, from_linen


class _Hidden(linen.Module):
    """Two dense layers; a third into `out` features if that is not 0."""

    hidden: int
    out: int
    activation: str

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        act = activation(self.activation)
        for _ in range(2):
            x = act(linen.Dense(self.hidden)(x))
        return linen.Dense(self.out)(x) if self.out else x


class _DenseBottomUp(linen.Module):
    """A chain of perceptrons: the activations after each, the last first."""

    hidden: Sequence[int]  # from the top
    activation: str

    @linen.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        x = x.reshape(x.shape[0], -1)
        seen: list[jax.Array] = []
        for width in reversed(self.hidden):
            x = _Hidden(width, 0, self.activation)(x)
            seen.insert(0, x)
        return tuple(seen)


class _Head(linen.Module):
    """A linear map of the activations alone."""

    out: int

    @linen.compact
    def __call__(self, h: jax.Array, seen: jax.Array) -> jax.Array:
        del h
        return linen.Dense(self.out)(seen)


class _Output(linen.Module):
    """A perceptron into the channels of every place of an event."""

    hidden: int
    out: Sequence[int]
    activation: str

    @linen.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        y = _Hidden(self.hidden, math.prod(self.out), self.activation)(h)
        return y.reshape(-1, *self.out)


def _kept(width: int) -> Network:
    """zeros `[n, 1]` -> zeros `[n, width]`, without parameters."""
    return Network(lambda key, x: {}, lambda params, x: jnp.zeros((x.shape[0], width)))


_SAME = Network(lambda key, h: {}, lambda params, h: h)
_DRAW = Network(lambda key, h, more, z: {}, lambda params, h, more, z: z)


def _unit_prior(dim: int) -> Network:
    """N(0, I) whatever is above, in the features of `bottlenecks.soft_normal`."""
    return Network(lambda key, h: {}, lambda params, h: jnp.zeros((h.shape[0], 2 * dim)))


def dense_ladder(
    shape: Sequence[int],
    out: int,
    *,
    latent_dims: Sequence[int] = (16, 32, 64),
    hidden: Sequence[int] = (128, 256, 512),
    activation: str = "leaky_relu",
) -> LadderNetworks:
    """LVAE (1602.02282, section 3): a perceptron of two layers between neighbouring latents.

    A latent is given the next above alone. Batch norm, which the paper has, is left out: a network
    here has no state.

    Args:
      shape: of one event.
      out: channels that the decoder gives, in place of the event's own.
      latent_dims: of each latent, the top first.
      hidden: of the perceptrons beside each latent, likewise.
      activation: between layers.
    """
    stages = []
    for i, (dim, width) in enumerate(zip(latent_dims, hidden, strict=True)):
        prior = from_linen(_Hidden(width, 2 * dim, activation)) if i else _unit_prior(dim)
        enter = _SAME if i else _kept(dim)
        stages.append(StageNetworks(1, enter, prior, from_linen(_Head(2 * dim)), _DRAW))
    return LadderNetworks(
        from_linen(_DenseBottomUp(tuple(hidden), activation)),
        tuple(stages),
        from_linen(_Output(hidden[-1], (*shape[:-1], out), activation)),
        tuple(latent_dims),
    )
