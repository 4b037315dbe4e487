"""Distributions of models whose class is a latent variable: the class, and expectations over it."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vaejax.core.distribution import Capabilities, Distribution, capabilities_of
from vaejax.distributions.elementary import Categorical, Uniform
from vaejax.distributions.flatten import as_rows
from vaejax.distributions.kl import kl, register_kl
from vaejax.distributions.support import Support, support_of

__all__ = ["ClassAverage", "LabelPosterior"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LabelPosterior:
    """The posterior of a class: all mass on the label where there is one, else q(y | x).

    Attributes:
      logits: of q(y | x), `[B, K]`.
      label: int32 `[B]`; −1 for examples without a label.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()  # its classes are no codes

    logits: jax.Array
    label: jax.Array

    @property
    def size(self) -> int:
        """The number of classes."""
        return self.logits.shape[-1]

    @property
    def indices(self) -> jax.Array:
        """The label, or the most likely class."""
        likeliest = jnp.argmax(self.logits, axis=-1).astype(jnp.int32)
        return jnp.where(self.label < 0, likeliest, self.label)

    @property
    def mean(self) -> jax.Array:
        """Class probabilities `[B, K]`; NaN for a label that is neither a class nor −1."""
        given = jax.nn.one_hot(self.label, self.size)
        exists = (self.label >= -1) & (self.label < self.size)
        mean = jnp.where(self.label[:, None] < 0, jax.nn.softmax(self.logits), given)
        return jnp.where(exists[:, None], mean, jnp.nan)

    def sample(self, key: jax.Array) -> jax.Array:
        sampled = jax.random.categorical(key, self.logits).astype(jnp.int32)
        return jnp.where(self.label < 0, sampled, self.label)

    def log_prob(self, x: jax.Array) -> jax.Array:
        given = jnp.where(x == self.label, 0.0, -jnp.inf)
        return jnp.where(self.label < 0, Categorical(self.logits).log_prob(x), given)


@register_kl(LabelPosterior, Uniform)
def _label_uniform(q: LabelPosterior, p: Uniform) -> jax.Array:
    return jnp.where(q.label < 0, kl(Categorical(q.logits), p, q.label), jnp.log(float(p.size)))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassAverage:
    """Densities given each class, averaged over the classes: E_w(y) log p(x | y).

    `log_prob` is the expected log-density, not that of the mixture: it is what an ELBO needs in
    which the class is summed out.

    Attributes:
      base: densities given the class, `[B · K, ...]`; the rows of an example are adjacent.
      weights: class probabilities w, `[B, K]`.
    """

    base: Distribution
    weights: jax.Array

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.base)

    @property
    def support(self) -> Support | None:
        return support_of(self.base)

    def average(self, values: jax.Array) -> jax.Array:
        """Values of each class `[B · K, ...]`, averaged: `[B, ...]`."""
        flat = values.reshape(*self.weights.shape, -1)
        mean = jnp.einsum("bk,bkd->bd", self.weights, flat)
        return mean.reshape(-1, *values.shape[1:])

    def per_class(self, x: jax.Array) -> jax.Array:
        """x `[B, ...]` once for each class: `[B · K, ...]`."""
        return jnp.repeat(x, self.weights.shape[1], axis=0)

    @property
    def mean(self) -> jax.Array:
        return self.average(self.base.mean)

    def sample(self, key: jax.Array) -> jax.Array:
        """A sample of the mixture."""
        class_key, key = jax.random.split(key)
        chosen = jax.random.categorical(class_key, jnp.log(self.weights))
        samples = self.base.sample(key)
        n, classes = self.weights.shape
        return samples.reshape(n, classes, *samples.shape[1:])[jnp.arange(n), chosen]

    def log_prob(self, x: jax.Array) -> jax.Array:
        base, rows = as_rows(self.base, self.per_class(x))
        log_p = self.average(base.log_prob(rows))
        return log_p.reshape(x.shape) if log_p.size == x.size else log_p


@register_kl(ClassAverage, ClassAverage)
def _expected_kl(q: ClassAverage, p: ClassAverage) -> jax.Array:
    """E_w(y) KL(q(z | y) ‖ p(z | y)), for one w, elementwise `[B, ...]`."""
    return q.average(kl(q.base, p.base, q.base.mean))
