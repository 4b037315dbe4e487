"""Metrics of a first-stage model together with the prior learned over its latents."""

from typing import Any

import numpy as np

from vaejax.core.game import Family, Params
from vaejax.data import Source
from vaejax.evaluation.evaluate import evaluator
from vaejax.training.two_stage import FirstStage

__all__ = ["two_stage_metrics"]


def two_stage_metrics(
    first: FirstStage,
    prior: Family,
    params: Params,
    source: Source,
    seed: int = 0,
    *,
    first_elbo: float | None = None,
) -> dict[str, float]:
    """Metrics of the first-stage model under the learned prior, over a split of the data.

    Those of `evaluator` for the two-stage model: `nll` of the decoder, `kl` to the learned prior,
    `elbo` and for suitable likelihoods `bits_per_dim`; `elbo_gain`, in nats, over the ELBO under
    the prior that the first stage was trained with. For codes also `nll_codes`, −log p(codes), and
    `bits_per_code`.

    Args:
      first: the trained first stage.
      prior: the family of the learned prior.
      params: of it.
      source: the data, not the latents.
      seed: of the samples of z.
      first_elbo: of the first stage alone over this split, if it is known.
    """
    options: Any = {"batch_size": first.batch_size, "seed": seed, "binarize": first.binarize}
    both = first.joint_params(params)
    result = evaluator(first.joint_family(prior), source, first.mesh, **options)(both, 0)
    if first_elbo is None:
        first_alone = evaluator(first.family, source, first.mesh, **options)(first.params, 0)
        first_elbo = first_alone["elbo"]
    result["elbo_gain"] = result["elbo"] - first_elbo
    if first.layout is not None:
        result["nll_codes"] = result["kl"]
        result["bits_per_code"] = result["kl"] / (first.layout.length * np.log(2.0))
    return result
