"""Distributions built from other distributions: masks, mixtures, tempered samples."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from vaejax.core.distribution import (
    STATIC,
    Capabilities,
    Distribution,
    capabilities_of,
    is_discrete,
)
from vaejax.distributions.missing import WithMissing
from vaejax.distributions.support import Support, support_of

__all__ = [
    "Masked",
    "Mixture",
    "MonteCarloKL",
    "modelled_elements",
    "modelled_size",
    "sample_with_temperature",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Masked:
    """The distribution of a partly observed event: unobserved elements follow `base`.

    Observed elements have log-probability 0, and are copied into `mean` and `sample`.

    Attributes:
      base: distribution of the complete event, `[B, ...]`.
      mask: 1 where the event is modelled, 0 where it is observed; of the event's shape, or with
        one channel.
      observed: the event, which is read only where the mask is 0.
    """

    base: Distribution
    mask: jax.Array
    observed: jax.Array

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.base)

    def _fill(self, x: jax.Array) -> jax.Array:
        return jnp.where(jnp.broadcast_to(self.mask, x.shape) > 0, x, self.observed)

    @property
    def mean(self) -> jax.Array:
        return self._fill(self.base.mean)

    @property
    def indices(self) -> jax.Array:
        """The most likely classes, of a distribution over classes; observed ones are copied."""
        assert is_discrete(self.base)
        return self._fill(self.base.indices)

    @property
    def size(self) -> int:
        """The number of classes, of a distribution over classes."""
        assert is_discrete(self.base)
        return self.base.size

    def sample(self, key: jax.Array) -> jax.Array:
        return self._fill(self.base.sample(key))

    def log_prob(self, x: jax.Array) -> jax.Array:
        log_p = self.base.log_prob(x)
        # A density over whole pixels has no axis of channels.
        mask = self.mask if log_p.ndim == x.ndim else self.mask[..., 0]
        return jnp.where(jnp.broadcast_to(mask, log_p.shape) > 0, log_p, 0.0)


def modelled_elements(p: Distribution, x: jax.Array) -> jax.Array:
    """Which elements of each event x `[B, ...]` p models: bool, of the shape of x."""
    if not isinstance(p, Masked | WithMissing):
        return jnp.ones(x.shape, bool)
    return jnp.broadcast_to(p.mask, x.shape).astype(jnp.float32) > 0


def modelled_size(p: Distribution, x: jax.Array) -> jax.Array:
    """The number of elements of each event x `[B, ...]` that p models: float32 `[B]`.

    All, except for `Masked` and `WithMissing` distributions; at least 1, so that means over them
    are defined.
    """
    if not isinstance(p, Masked | WithMissing):
        return jnp.full(x.shape[0], float(math.prod(x.shape[1:])))
    modelled = modelled_elements(p, x)
    count = modelled.reshape(x.shape[0], -1).sum(axis=1).astype(jnp.float32)
    return jnp.maximum(count, 1.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MonteCarloKL:
    """A prior to which the KL is estimated from the sample z, even where a closed form exists.

    For a prior that depends, through other nodes, on the sample of its own posterior: the closed
    form would take the expectation over z at a fixed prior.

    Attributes:
      base: the prior itself.
    """

    base: Distribution

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.base)._replace(monte_carlo_kl=True)

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
    """A mixture of K distributions of a whole latent, shared by all examples of a batch.

    `log_prob` reduces the axes of the event, since all its elements share one component. The KL to
    a mixture has no closed form.

    Attributes:
      logits: mixture weights `[K]`.
      components: a distribution, elementwise over `[K, ...]`.
      count: number B of samples that `sample` returns.
    """

    logits: jax.Array
    components: Distribution
    count: int = dataclasses.field(default=1, metadata=STATIC)

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.components)._replace(elementwise=False)

    @property
    def support(self) -> Support | None:
        return support_of(self.components)

    @property
    def mean(self) -> jax.Array:
        """The mean of the mixture, repeated for each sample, `[B, ...]`."""
        means = self.components.mean
        mean = jnp.tensordot(jax.nn.softmax(self.logits), means, axes=1)
        return jnp.broadcast_to(mean[None], (self.count, *mean.shape))

    def sample(self, key: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """B samples, `[B, ...]`.

        The temperature shrinks each component toward its own mean; the weights are unchanged.
        """
        index_key, key = jax.random.split(key)
        index = jax.random.categorical(index_key, self.logits, shape=(self.count,))
        chosen = jax.tree.map(lambda a: a[index], self.components)
        return sample_with_temperature(chosen, key, temperature)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """x `[B, ...] -> [B]`, nats: the axes of the event are reduced."""
        components = jax.tree.map(lambda a: a[None], self.components)
        log_p = components.log_prob(x[:, None])  # [B, K, ...]
        log_p = log_p.reshape(*log_p.shape[:2], -1).sum(axis=2)
        return jax.nn.logsumexp(log_p + jax.nn.log_softmax(self.logits)[None], axis=1)


def sample_with_temperature(
    p: Distribution, key: jax.Array, temperature: float | jax.Array = 1.0
) -> jax.Array:
    """A sample from `p`, with its deviation from the mean multiplied by `temperature`.

    In a mixture the deviation is that from the mean of the sampled component.
    """
    if isinstance(p, Mixture):
        return p.sample(key, temperature)
    return p.mean + temperature * (p.sample(key) - p.mean)
