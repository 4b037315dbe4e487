"""Categorical latents with the Gumbel-softmax relaxation."""

import math

import jax
import jax.numpy as jnp

from vaejax.core.schedules import schedule
from vaejax.core.types import Options, Weight
from vaejax.distributions import Categorical
from vaejax.quantizers.quantizer import Quantizer, only_existing

__all__ = ["gumbel_softmax"]


def gumbel_softmax(
    codes: int = 512, dim: int = 64, *, temperature: Options | Weight = 0.5, hard: bool = False
) -> Quantizer:
    """A reparameterised categorical posterior (1611.01144, section 2; 1611.00712).

    Tokens are the logits of the codes. In training z is a mixture of codes, with weights
    softmax((logits + g) / τ) for Gumbel noise g; otherwise it is the sampled code. The KL to the
    uniform prior is exact. Parameters: the codes, `[codes, dim]`, trained by gradient descent.

    Args:
      codes: number K of codes.
      dim: dimensions D of a code.
      temperature: τ, a number, a schedule, or the settings of one.
      hard: whether training also uses the sampled code, with the gradient of the mixture.
    """

    def init(key: jax.Array, tokens: jax.Array) -> jax.Array:
        del tokens
        return jax.random.normal(key, (codes, dim)) / math.sqrt(dim)

    def sample(logits: jax.Array, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """The perturbed logits, and one-hot their argmax: a sample, or without a key the mode."""
        noisy = logits
        if key is not None:
            noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
        return noisy, jax.nn.one_hot(jnp.argmax(noisy, axis=-1), codes, dtype=logits.dtype)

    def exact(
        codebook: jax.Array, tokens: jax.Array, key: jax.Array | None
    ) -> tuple[Categorical, jax.Array]:
        logits = tokens
        return Categorical(logits), sample(logits, key)[1] @ codebook

    def training_variant(step: jax.Array) -> Quantizer:
        tau = schedule(temperature)
        tau = tau(step) if callable(tau) else tau

        def relaxed(
            codebook: jax.Array, tokens: jax.Array, key: jax.Array | None
        ) -> tuple[Categorical, jax.Array]:
            noisy, one_hot = sample(tokens, key)
            weights = jax.nn.softmax(noisy / jnp.asarray(tau, noisy.dtype))
            if hard:
                weights = weights + jax.lax.stop_gradient(one_hot - weights)
            return Categorical(tokens), weights @ codebook

        return quantizer._replace(quantize=relaxed)

    def embed(codebook: jax.Array, indices: jax.Array) -> jax.Array:
        return only_existing(codebook[jnp.clip(indices, 0, codes - 1)], indices, codes)

    quantizer = Quantizer(codes, dim, codes, (), True, init, exact, embed, stochastic=True)
    return quantizer._replace(training_variant=training_variant)
