"""The spike-and-slab lasso: a prior of weights of which most are zero."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

WEIGHTS, INCLUSION = "weights", "inclusion"  # the two arrays of a selector's parameters


class SpikeAndSlabLasso(NamedTuple):
    """A prior of weights W `[D, K]` of which most shall be zero (2110.10804, section 2.1).

    w_jk ~ θ_k · Laplace(slab) + (1 − θ_k) · Laplace(spike), θ_k ~ Beta(a, b): the paper's
    ψ₁, ψ₀, Beta prior and Bernoulli indicators, these summed out.

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

    def _two(self, weights: jax.Array, inclusion: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Log-densities `[D, K]` of (w, slab) and of (w, spike)."""
        size = jnp.abs(weights)
        slab = jnp.log(inclusion) + jnp.log(self.slab / 2) - self.slab * size
        spike = jnp.log1p(-inclusion) + jnp.log(self.spike / 2) - self.spike * size
        return slab, spike

    def log_prob(self, weights: jax.Array, inclusion: jax.Array) -> jax.Array:
        """log p(W | θ) + log p(θ) in nats, `[]`, the latter up to its constant.

        By Fisher's identity its gradient in W is −(λ1 p* + λ0 (1 − p*)) sign(w), that of the
        expected log-prior which the paper's M-step has, at the newest p*.

        Args:
          weights: W, `[D, K]`.
          inclusion: θ, `[K]`.
        """
        slab, spike = self._two(weights, inclusion[None, :])
        b = weights.shape[0] if self.b is None else self.b
        beta = (self.a - 1) * jnp.log(inclusion) + (b - 1) * jnp.log1p(-inclusion)
        return jnp.logaddexp(slab, spike).sum() + beta.sum()

    def selected(self, weights: jax.Array, inclusion: jax.Array) -> jax.Array:
        """The E-step: p*, the probability `[D, K]` that each weight is of the slab.

        θλ1 e^(−λ1|w|) / (θλ1 e^(−λ1|w|) + (1 − θ)λ0 e^(−λ0|w|)), 2110.10804, section 3.2; the
        authors' code leaves out the factors λ1 and λ0.
        """
        slab, spike = self._two(weights, inclusion[None, :])
        return jax.nn.sigmoid(slab - spike)

    def inclusion(self, selected: jax.Array) -> jax.Array:
        """The M-step of θ `[K]` given p* `[D, K]`: the mode of a Beta posterior."""
        d = selected.shape[0]
        b = d if self.b is None else self.b
        mode = (selected.sum(axis=0) + self.a - 1) / (d + self.a + b - 2)
        # A factor that is at zero could never come back, nor be told from a numerical accident.
        return jnp.clip(mode, 1e-6, 1 - 1e-6)
