"""Densities made of other densities."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from vaejax.distributions.protocol import STATIC


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Masked:
    """A distribution of an event part of which is given: the rest follows `base`.

    What is given has probability one, and stands in `mean` and `sample` as it is.

    Attributes:
      base: of the whole event, `[B, ...]`.
      mask: 1 where the event is to be explained, 0 where it is given; of the event's shape, or
        with one channel.
      known: the event, of which only the given part is read.
    """

    base: Any
    mask: jax.Array
    known: jax.Array

    def _filled(self, x: jax.Array) -> jax.Array:
        return jnp.where(jnp.broadcast_to(self.mask, x.shape) > 0, x, self.known)

    @property
    def mean(self) -> jax.Array:
        return self._filled(self.base.mean)

    def sample(self, key: jax.Array) -> jax.Array:
        return self._filled(self.base.sample(key))

    def log_prob(self, x: jax.Array) -> jax.Array:
        log_p = self.base.log_prob(x)
        # A density over whole pixels has consumed the channels.
        mask = self.mask if log_p.ndim == x.ndim else self.mask[..., 0]
        return jnp.where(jnp.broadcast_to(mask, log_p.shape) > 0, log_p, 0.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampled:
    """A distribution that a KL is to be estimated to by the draw, closed form or not.

    For a prior that depends, through other nodes, on the very draw of its own posterior: the
    closed form would take the expectation over z as if the prior stood still.

    Attributes:
      base: the distribution.
    """

    base: Any

    @property
    def mean(self) -> jax.Array:
        return self.base.mean

    def sample(self, key: jax.Array) -> jax.Array:
        return self.base.sample(key)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return self.base.log_prob(x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mixture:
    """A mixture of K distributions of a whole latent, the same for all of a batch.

    `log_prob` consumes the event's axes, since which component it was is one choice for all of
    them; it has no closed-form KL.

    Attributes:
      logits: mixture weights `[K]`.
      components: a distribution, elementwise over `[K, ...]`.
      count: how many draws `sample` gives, B.
    """

    logits: jax.Array
    components: Any
    count: int = dataclasses.field(default=1, metadata=STATIC)

    @property
    def mean(self) -> jax.Array:
        """The mean of the whole mixture, once for each draw, `[B, ...]`."""
        means = self.components.mean
        mean = jnp.tensordot(jax.nn.softmax(self.logits), means, axes=1)
        return jnp.broadcast_to(mean[None], (self.count, *mean.shape))

    def sample(self, key: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """One draw for each of the batch, `[B, ...]`.

        The temperature shrinks each component toward its own mean; their weights stay.
        """
        which_key, key = jax.random.split(key)
        which = jax.random.categorical(which_key, self.logits, shape=(self.count,))
        return draw(jax.tree.map(lambda a: a[which], self.components), key, temperature)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """x `[B, ...] -> [B]`: the event's axes are consumed."""
        each = jax.tree.map(lambda a: a[None], self.components).log_prob(x[:, None])  # [B, K, ...]
        each = each.reshape(*each.shape[:2], -1).sum(axis=2)
        return jax.nn.logsumexp(each + jax.nn.log_softmax(self.logits)[None], axis=1)


def draw(p: Any, key: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
    """A draw from `p` shrunk toward its mean, or each component of a mixture toward its own."""
    if isinstance(p, Mixture):
        return p.sample(key, temperature)
    return p.mean + temperature * (p.sample(key) - p.mean)
