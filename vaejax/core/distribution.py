"""The protocol of distributions, and what each declares that it supports."""

from typing import NamedTuple, Protocol, TypeGuard

import jax

__all__ = [
    "STATIC",
    "Capabilities",
    "Discrete",
    "Distribution",
    "Quantized",
    "SparseDistribution",
    "WithVariance",
    "capabilities_of",
    "is_discrete",
    "is_quantized",
]


STATIC = {"static": True}  # metadata of a field that is part of the type, not an array


class Capabilities(NamedTuple):
    """Declared by every distribution as its attribute `capabilities`.

    Attributes:
      continuous: values are real numbers; `mean` and `log_prob` are those of a density. Metrics
        such as `active_units` and importance sampling need this of a posterior.
      euclidean: the density is with respect to the Lebesgue measure on all of ℝᴰ and
        differentiable, so that gradient-based sampling (annealing) can move in it.
      elementwise: `log_prob(x)` has the shape of x; otherwise it reduces the axes of one value,
        `[B, ...] -> [B]`.
      reparameterized: gradients pass through `sample`.
      indices: values are classes; `indices` int32 `[B, ...]` are the most likely ones and `size`
        is the number of classes.
      quantized: besides `indices` it has the encoder's `features` and the chosen `codes`
        `[..., D]`, as losses of quantizers need.
      bits_per_dim: as a likelihood, `log_prob` is the log-probability of one of finitely many
        values, so that bits per dimension can be reported.
      monte_carlo_kl: as a prior, the KL to it is estimated from one sample although a closed form
        may exist, since it depends on the sample through other nodes.
    """

    continuous: bool = False
    euclidean: bool = False
    elementwise: bool = True
    reparameterized: bool = False
    indices: bool = False
    quantized: bool = False
    bits_per_dim: bool = False
    monte_carlo_kl: bool = False


class Distribution(Protocol):
    """The methods of every distribution; one from outside the library needs only these.

    A class is a frozen dataclass registered with `jax.tree_util.register_dataclass`, whose arrays
    have the batch as their leading axis. As a posterior of one vector `[B, D]` it may also have
    `variance` `[B, D]`, which traversals need, and `project(z)`, the nearest point of its support,
    where that is not all of ℝᴰ (a sphere, say). As a likelihood it may declare its `support`, a
    `vaejax.distributions.Support`, so that data outside of it are refused before training.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the distribution supports; usually a class attribute."""

    @property
    def mean(self) -> jax.Array:
        """The mean, of the shape of a sample (for classes, of a one-hot sample)."""

    def sample(self, key: jax.Array) -> jax.Array:
        """One sample, reparameterised where the density is continuous."""

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Log-density or log-probability of x, nats; `capabilities.elementwise` gives its shape."""


class Discrete(Distribution, Protocol):
    """A distribution over classes, whose capabilities declare `indices`."""

    @property
    def indices(self) -> jax.Array:
        """The most likely classes, int32 `[B, ...]`."""

    @property
    def size(self) -> int:
        """The number of classes."""


class SparseDistribution(Distribution, Protocol):
    """A distribution whose elements can be exactly zero."""

    @property
    def active(self) -> jax.Array:
        """The probability that an element is not zero, `[B, ...]`."""


class WithVariance(Distribution, Protocol):
    """A distribution of a vector with a variance of each element."""

    @property
    def variance(self) -> jax.Array:
        """`[B, D]`."""


class Quantized(Discrete, Protocol):
    """The posterior of a quantizer, whose capabilities declare `quantized`."""

    @property
    def features(self) -> jax.Array:
        """The encoder's tokens, `[B, ..., D]`."""

    @property
    def codes(self) -> jax.Array:
        """The chosen codes, `[B, ..., D]`."""


def capabilities_of(distribution: object) -> Capabilities:
    """The declared capabilities of a distribution.

    Raises:
      TypeError: its class declares none.
    """
    declared = getattr(distribution, "capabilities", None)
    if not isinstance(declared, Capabilities):
        raise TypeError(
            f"the class {type(distribution).__name__} declares no capabilities; add "
            "`capabilities: ClassVar[Capabilities] = Capabilities(...)`, see "
            "vaejax.distributions.Capabilities"
        )
    return declared


def is_discrete(distribution: Distribution) -> TypeGuard[Discrete]:
    """Whether a distribution is over classes, and so has `indices` and `size`."""
    return capabilities_of(distribution).indices


def is_quantized(distribution: Distribution) -> TypeGuard[Quantized]:
    """Whether a distribution is the posterior of a quantizer."""
    return capabilities_of(distribution).quantized
