"""All disentanglement metrics of a trained model, as one metric."""

from collections.abc import Mapping

from vaejax.core.game import Family
from vaejax.core.registry import register
from vaejax.data import Source
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.disentanglement.beta_and_factor_vae_scores import (
    BetaVAEScore,
    FactorVAEScore,
)
from vaejax.evaluation.disentanglement.codes_metric import CodesMetric
from vaejax.evaluation.disentanglement.dci import DCI, LinearDCI
from vaejax.evaluation.disentanglement.irs import IRS
from vaejax.evaluation.disentanglement.mig import MIG
from vaejax.evaluation.disentanglement.modularity_explicitness import Explicitness, Modularity
from vaejax.evaluation.disentanglement.sap import SAP

__all__ = ["Disentanglement"]

_METRICS: tuple[CodesMetric, ...] = (
    MIG(),
    IRS(),
    Modularity(),
    Explicitness(),
    SAP(),
    FactorVAEScore(),
    BetaVAEScore(),
    LinearDCI(),
    DCI(),
)


@register("metric", "disentanglement")
class Disentanglement:
    """All of them, under the names that they have alone; takes minutes."""

    def requires(self, family: Family, source: Source) -> str | None:
        """Why one of them does not apply.

        Raises:
          ImportError: scikit-learn, which `dci` uses, is missing.
        """
        return next(filter(None, (m.requires(family, source) for m in _METRICS)), None)

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The metrics of a split."""
        return {k: v for metric in _METRICS for k, v in metric.compute(context).items()}
