"""Disentanglement metrics: those of 1811.12359, which compare codes with factors, and UDR.

Each metric is `f(codes [N, D], factors [N, K]) -> dict`. The β-VAE and FactorVAE scores also come
as `f(encode, source, key)`. All but `dci` are compiled and take codes of many models `[M, N, D]`.
"""

from vaejax.evaluation.disentanglement.all_metrics import Disentanglement
from vaejax.evaluation.disentanglement.beta_and_factor_vae_scores import (
    beta_vae_score,
    beta_vae_score_of_codes,
    factor_vae_score,
    factor_vae_score_of_codes,
)
from vaejax.evaluation.disentanglement.codes_metric import CodesMetric, SplitCodes, codes_of_split
from vaejax.evaluation.disentanglement.dci import dci, dci_linear
from vaejax.evaluation.disentanglement.encoding import encode_split
from vaejax.evaluation.disentanglement.histograms import information_and_entropy
from vaejax.evaluation.disentanglement.irs import irs
from vaejax.evaluation.disentanglement.mig import mig
from vaejax.evaluation.disentanglement.modularity_explicitness import explicitness, modularity
from vaejax.evaluation.disentanglement.sap import sap
from vaejax.evaluation.disentanglement.udr import udr

__all__ = [
    "CodesMetric",
    "Disentanglement",
    "SplitCodes",
    "beta_vae_score",
    "beta_vae_score_of_codes",
    "codes_of_split",
    "dci",
    "dci_linear",
    "encode_split",
    "explicitness",
    "factor_vae_score",
    "factor_vae_score_of_codes",
    "information_and_entropy",
    "irs",
    "mig",
    "modularity",
    "sap",
    "udr",
]
