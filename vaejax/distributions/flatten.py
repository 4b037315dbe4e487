"""Events as rows of numbers, which compilers like better."""

from typing import Any

import jax
import jax.numpy as jnp

from vaejax.distributions.composite import Masked
from vaejax.distributions.discretized import DiscretizedLogistic
from vaejax.distributions.elementary import Bernoulli, Normal

_ELEMENTWISE = (Bernoulli, DiscretizedLogistic, Normal)


def as_rows(p: Any, x: jax.Array) -> tuple[Any, jax.Array]:
    """A density and an event `[B, ...]` of it, both as `[B, D]` where nothing is lost by it.

    XLA on CPU vectorises the last axis alone: it takes images of one channel number by number,
    which was half of the time of a small model's step. A density that is not elementwise, or of
    arrays that are not of the event's shape, stays as it is.
    """
    base = p.base if isinstance(p, Masked) else p
    if type(base) not in _ELEMENTWISE or x.ndim < 3:
        return p, x
    if any(jnp.shape(leaf) != x.shape for leaf in jax.tree.leaves(p)):
        return p, x
    return jax.tree.map(lambda a: a.reshape(x.shape[0], -1), (p, x))
