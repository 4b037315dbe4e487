"""Metrics of a first stage and its learned prior together."""

from typing import Any

import numpy as np

from vaejax.core.game import Family, Params
from vaejax.data import Source
from vaejax.evaluation.evaluate import evaluator
from vaejax.training.two_stage import FirstStage


def two_stage_metrics(
    first: FirstStage, prior: Family, params: Params, source: Source, seed: int = 0
) -> dict[str, float]:
    """What the prior and this model are together, over a split of the data.

    Those of `evaluator`, of the whole: `nll` of the decoder, `kl` to the learned prior, `elbo`
    and where it makes sense `bits_per_dim`; `elbo_gain`, in nats, on the ELBO under the prior
    that the model was trained with. Of codes also `nll_codes`, −log p(codes), and
    `bits_per_code`.

    Args:
      first: the trained first stage.
      prior: the family of the learned prior.
      params: of it.
      source: the data, not the latents.
      seed: of the draws.
    """
    options: Any = {"batch_size": first.batch_size, "seed": seed, "binarize": first.binarize}
    both = first.and_prior(params)
    result = evaluator(first.whole(prior), source, first.mesh, **options)(both, 0)
    before = evaluator(first.family, source, first.mesh, **options)(first.params, 0)
    result["elbo_gain"] = result["elbo"] - before["elbo"]
    if first.layout is not None:
        result["nll_codes"] = result["kl"]
        result["bits_per_code"] = result["kl"] / (first.layout.length * np.log(2.0))
    return result
