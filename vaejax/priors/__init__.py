"""The second stage: priors learned over the latents of a trained model, and the two as one."""

from vaejax.priors.codes import codes
from vaejax.priors.mixture import full_mixture
from vaejax.priors.sampling import draw_sequences, truncated
from vaejax.priors.whole import with_prior

__all__ = [
    "codes",
    "draw_sequences",
    "full_mixture",
    "truncated",
    "with_prior",
]
