"""The second stage: priors learned over the latents of a trained model, and the two as one."""

from vaejax.second_stage.code_prior import codes
from vaejax.second_stage.gaussian_mixture import full_mixture
from vaejax.second_stage.sampling import draw_sequences, truncated
from vaejax.second_stage.two_stage_model import with_prior

__all__ = [
    "codes",
    "draw_sequences",
    "full_mixture",
    "truncated",
    "with_prior",
]
