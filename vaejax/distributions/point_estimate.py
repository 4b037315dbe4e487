"""Point estimates of events."""

from typing import Any

import jax

from vaejax.distributions.capabilities import capabilities_of

__all__ = ["point_estimate"]


def point_estimate(p: Any) -> jax.Array:
    """The mean of p(x | z), or the most likely classes `[...]` of a categorical distribution."""
    return p.indices if capabilities_of(p).indices else p.mean
