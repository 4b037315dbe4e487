"""The spike-and-slab lasso: a sparsity prior over weights."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["INCLUSION", "WEIGHTS", "SpikeAndSlabLasso"]

# The names of the arrays W and θ in the parameters of a selector.
WEIGHTS, INCLUSION = "weights", "inclusion"


class SpikeAndSlabLasso(NamedTuple):
    """A prior that favours sparse weights W `[D, K]` (2110.10804, section 2.1).

    w_jk ~ θ_k · Laplace(slab) + (1 − θ_k) · Laplace(spike), θ_k ~ Beta(a, b): the paper's
    ψ₁, ψ₀ and Beta prior, with the Bernoulli indicators summed out.

    Attributes:
      spike: rate λ0 of the narrow Laplace density, 1 / its mean absolute value.
      slab: rate λ1 of the wide one.
      a: of the Beta prior of θ.
      b: of the Beta prior of θ; None for D, the number of columns, as in the paper.
    """

    spike: float = 10.0
    slab: float = 1.0
    a: float = 1.0
    b: float | None = None

    def _joint_log_densities(
        self, weights: jax.Array, inclusion: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Log-densities `[D, K]` of (w, slab) and of (w, spike)."""
        size = jnp.abs(weights)
        slab = jnp.log(inclusion) + jnp.log(self.slab / 2) - self.slab * size
        spike = jnp.log1p(-inclusion) + jnp.log(self.spike / 2) - self.spike * size
        return slab, spike

    def log_prob(self, weights: jax.Array, inclusion: jax.Array) -> jax.Array:
        """log p(W | θ) + log p(θ) in nats, `[]`, the latter up to its constant.

        By Fisher's identity its gradient in W is −(λ1 p* + λ0 (1 − p*)) sign(w): that of the
        expected log-prior in the paper's M-step, at the current p*.

        Args:
          weights: W, `[D, K]`.
          inclusion: θ, `[K]`.
        """
        slab, spike = self._joint_log_densities(weights, inclusion[None, :])
        b = weights.shape[0] if self.b is None else self.b
        beta = (self.a - 1) * jnp.log(inclusion) + (b - 1) * jnp.log1p(-inclusion)
        return jnp.logaddexp(slab, spike).sum() + beta.sum()

    def slab_probability(self, weights: jax.Array, inclusion: jax.Array) -> jax.Array:
        """The E-step: p* `[D, K]`, the posterior probability that each weight is of the slab.

        θλ1 e^(−λ1|w|) / (θλ1 e^(−λ1|w|) + (1 − θ)λ0 e^(−λ0|w|)), 2110.10804, section 3.2; the
        authors' code omits the factors λ1 and λ0.
        """
        slab, spike = self._joint_log_densities(weights, inclusion[None, :])
        return jax.nn.sigmoid(slab - spike)

    def inclusion_mode(self, slab_probability: jax.Array) -> jax.Array:
        """The M-step of θ `[K]` given p* `[D, K]`: the mode of its Beta posterior."""
        d = slab_probability.shape[0]
        b = d if self.b is None else self.b
        mode = (slab_probability.sum(axis=0) + self.a - 1) / (d + self.a + b - 2)
        # A θ of exactly zero could never grow again, and is indistinguishable from underflow.
        return jnp.clip(mode, 1e-6, 1 - 1e-6)
