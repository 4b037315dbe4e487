"""Second stages: priors learned over the latents of a trained model.

There are autoregressive priors over codes, Gaussian mixtures over vectors, and the combination of
a first stage and its prior into one model of the data.
"""

from vaejax.second_stage.code_prior import code_prior
from vaejax.second_stage.gaussian_mixture import gaussian_mixture
from vaejax.second_stage.sampling import sample_sequences, truncate_logits
from vaejax.second_stage.two_stage_model import two_stage_model

__all__ = [
    "code_prior",
    "gaussian_mixture",
    "sample_sequences",
    "truncate_logits",
    "two_stage_model",
]
