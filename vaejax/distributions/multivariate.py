"""Gaussians with full covariance."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vaejax.core.distribution import Capabilities
from vaejax.distributions.elementary import LOG_2PI
from vaejax.distributions.support import REAL, Support

__all__ = ["MultivariateNormal"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MultivariateNormal:
    """A Gaussian vector, given by its mean and a factor of its precision matrix.

    `log_prob` reduces the axis of the vector, since its elements are dependent.

    Attributes:
      loc: the mean, `[..., D]`.
      factor: A, lower triangular with a positive diagonal, such that Σ⁻¹ = AᵀA, `[..., D, D]`;
        A (x − loc) is white noise, so that densities need no solve of a linear system.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        continuous=True, euclidean=True, elementwise=False, reparameterized=True
    )
    support: ClassVar[Support] = REAL

    loc: jax.Array
    factor: jax.Array

    @property
    def mean(self) -> jax.Array:
        return self.loc

    def sample(self, key: jax.Array) -> jax.Array:
        """A reparameterised sample, `[..., D]`."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        solve = jax.scipy.linalg.solve_triangular
        return self.loc + solve(self.factor, noise[..., None], lower=True)[..., 0]

    def log_prob(self, x: jax.Array) -> jax.Array:
        """x `[..., D] -> [...]`, nats."""
        white = jnp.einsum("...ij,...j->...i", self.factor, x - self.loc)
        log_det = jnp.log(jnp.diagonal(self.factor, axis1=-2, axis2=-1)).sum(axis=-1)
        return log_det - 0.5 * (jnp.square(white) + LOG_2PI).sum(axis=-1)
