"""One event that stands for a distribution."""

from typing import Any

import jax
import jax.numpy as jnp

from vaejax.distributions.elementary import Categorical


def best_guess(p: Any) -> jax.Array:
    """What is shown of p(x | z): its mean, or of classes the likeliest."""
    if isinstance(p, Categorical):
        return jnp.argmax(p.logits, axis=-1).astype(jnp.int32)
    return p.mean
