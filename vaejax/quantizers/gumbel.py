"""A random choice of codes, relaxed in training."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.schedules import schedule
from vaejax.distributions import Categorical
from vaejax.quantizers.quantizer import Quantizer


def gumbel_softmax(
    codes: int = 512, dim: int = 64, *, temperature: Any = 0.5, hard: bool = False
) -> Quantizer:
    """A categorical posterior, reparameterised (1611.01144, section 2; 1611.00712).

    Tokens are the logits of the codes. In training z is a mixture of codes, with weights
    softmax((logits + g) / τ) for Gumbel noise g; otherwise it is the code that was drawn. The KL
    to the uniform prior is exact. Parameters: the codes, `[codes, dim]`, which learn by gradient
    from what the decoder's owner minimises.

    Args:
      codes: K.
      dim: D.
      temperature: τ, a number, a schedule, or the settings of one.
      hard: whether training sees the drawn code as well, with the gradient of the mixture.
    """

    def init(key: jax.Array, tokens: jax.Array) -> jax.Array:
        del tokens
        return jax.random.normal(key, (codes, dim)) / math.sqrt(dim)

    def drawn(logits: jax.Array, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        noisy = logits
        if key is not None:
            noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
        return noisy, jax.nn.one_hot(jnp.argmax(noisy, axis=-1), codes, dtype=logits.dtype)

    def exact(
        codebook: Any, tokens: jax.Array, key: jax.Array | None
    ) -> tuple[Categorical, jax.Array]:
        logits = tokens
        return Categorical(logits), drawn(logits, key)[1] @ codebook

    def at(step: jax.Array) -> Quantizer:
        tau = schedule(temperature)
        tau = tau(step) if callable(tau) else tau

        def relaxed(
            codebook: Any, tokens: jax.Array, key: jax.Array | None
        ) -> tuple[Categorical, jax.Array]:
            noisy, choice = drawn(tokens, key)
            soft = jax.nn.softmax(noisy / jnp.asarray(tau, noisy.dtype))
            if hard:
                soft = soft + jax.lax.stop_gradient(choice - soft)
            return Categorical(tokens), soft @ codebook

        return whole._replace(quantize=relaxed)

    def embed(codebook: Any, indices: jax.Array) -> jax.Array:
        return codebook[indices]

    whole = Quantizer(codes, dim, codes, (), True, init, exact, embed, random=True)
    return whole._replace(at=at)
