"""Standard distributions, elementwise; log-probabilities in nats."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vaejax.core.distribution import STATIC, Capabilities
from vaejax.distributions.bounds import soft_bound
from vaejax.distributions.softplus import softplus
from vaejax.distributions.support import REAL, UNIT_INTERVAL, Support, classes

__all__ = ["LOG_2PI", "Bernoulli", "Categorical", "Normal", "Uniform"]

LOG_2PI = 1.8378770664093453


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Normal:
    """Independent Gaussians with mean `loc` and standard deviation `scale`, of one shape."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        continuous=True, euclidean=True, reparameterized=True
    )
    support: ClassVar[Support] = REAL

    loc: jax.Array
    scale: jax.Array

    @classmethod
    def from_features(cls, features: jax.Array) -> "Normal":
        """Mean and log-variance side by side on the last axis (1312.6114, appendix C.2).

        The log-deviation is bounded, see `soft_bound`.
        """
        loc, log_variance = jnp.split(features, 2, axis=-1)
        return cls(loc, jnp.exp(soft_bound(0.5 * log_variance)))

    @property
    def mean(self) -> jax.Array:
        return self.loc

    @property
    def variance(self) -> jax.Array:
        return jnp.square(self.scale)

    def sample(self, key: jax.Array) -> jax.Array:
        """A reparameterised sample."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        return self.loc + self.scale * noise

    def log_prob(self, x: jax.Array) -> jax.Array:
        z = (x - self.loc) / self.scale
        return -0.5 * (z * z + LOG_2PI) - jnp.log(self.scale)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoulli variables given by `logits`.

    For x strictly between 0 and 1 (grey levels) `log_prob` is the negative cross-entropy, which is
    not a normalised log-density; binarise the data to compare likelihoods.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()
    support: ClassVar[Support] = UNIT_INTERVAL

    logits: jax.Array

    @property
    def mean(self) -> jax.Array:
        return jax.nn.sigmoid(self.logits)

    def sample(self, key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(key, self.mean).astype(self.logits.dtype)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return x * self.logits - softplus(self.logits)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Categorical:
    """One of K classes, given by `logits` `[..., K]`; x is int32 `[...]`."""

    capabilities: ClassVar[Capabilities] = Capabilities(indices=True, bits_per_dim=True)

    logits: jax.Array

    @property
    def indices(self) -> jax.Array:
        """The most likely class, int32 `[...]`; the first of equally likely ones."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    @property
    def size(self) -> int:
        """The number of classes."""
        return self.logits.shape[-1]

    @property
    def support(self) -> Support:
        return classes(self.size)

    @property
    def mean(self) -> jax.Array:
        """Class probabilities `[..., K]`: the mean of the one-hot vector."""
        return jax.nn.softmax(self.logits)

    def sample(self, key: jax.Array) -> jax.Array:
        return jax.random.categorical(key, self.logits).astype(jnp.int32)

    def log_prob(self, x: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(self.logits)
        return jnp.take_along_axis(log_p, x[..., None], axis=-1)[..., 0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Uniform:
    """The uniform distribution over `size` classes: the prior of a VQ-VAE in training."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    size: int = dataclasses.field(metadata=STATIC)
    shape: tuple[int, ...] = dataclasses.field(default=(), metadata=STATIC)

    @property
    def mean(self) -> jax.Array:
        return jnp.full((*self.shape, self.size), 1.0 / self.size)

    def sample(self, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, self.shape, 0, self.size, jnp.int32)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return jnp.full(x.shape, -jnp.log(float(self.size)), jnp.float32)
