"""Point estimates of events."""

import jax

from vaejax.core.distribution import Distribution, is_discrete
from vaejax.distributions.missing import WithMissing

__all__ = ["point_estimate"]


def point_estimate(p: Distribution) -> jax.Array:
    """The mean of p(x | z), or the most likely classes `[...]` of a categorical distribution."""
    if isinstance(p, WithMissing):  # missing elements are estimated like the others
        return point_estimate(p.base)
    return p.indices if is_discrete(p) else p.mean
