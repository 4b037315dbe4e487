"""Gaussians with full covariance."""

import dataclasses

import jax
import jax.numpy as jnp

from vaejax.distributions.elementary import LOG_2PI


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MultivariateNormal:
    """A Gaussian of whole vectors, given by its mean and a factor of its precision.

    The event's axis is consumed by `log_prob`, since the elements depend on one another.

    Attributes:
      loc: the mean, `[..., D]`.
      factor: A, lower triangular with a positive diagonal, such that Σ⁻¹ = AᵀA, `[..., D, D]`;
        A (x − loc) is white. No system is solved where densities are computed.
    """

    loc: jax.Array
    factor: jax.Array

    @property
    def mean(self) -> jax.Array:
        return self.loc

    def sample(self, key: jax.Array) -> jax.Array:
        """A reparameterised draw, `[..., D]`."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        solve = jax.scipy.linalg.solve_triangular
        return self.loc + solve(self.factor, noise[..., None], lower=True)[..., 0]

    def log_prob(self, x: jax.Array) -> jax.Array:
        """x `[..., D] -> [...]`, nats."""
        white = jnp.einsum("...ij,...j->...i", self.factor, x - self.loc)
        log_det = jnp.log(jnp.diagonal(self.factor, axis1=-2, axis2=-1)).sum(axis=-1)
        return log_det - 0.5 * (jnp.square(white) + LOG_2PI).sum(axis=-1)
