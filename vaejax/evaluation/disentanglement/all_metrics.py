"""All disentanglement metrics of a trained model whose latents are one continuous vector."""

from typing import Any

import jax
import numpy as np

from vaejax.core.game import Batch, Family, Params
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.distributions import capabilities_of
from vaejax.evaluation.disentanglement.beta_and_factor_vae_scores import (
    beta_vae_score_of_codes,
    factor_vae_score_of_codes,
)
from vaejax.evaluation.disentanglement.dci import dci, dci_linear, import_ensemble
from vaejax.evaluation.disentanglement.encoding import Encode, check_factors, encode_split
from vaejax.evaluation.disentanglement.inputs import num_train_rows
from vaejax.evaluation.disentanglement.irs import irs
from vaejax.evaluation.disentanglement.mig import mig
from vaejax.evaluation.disentanglement.modularity_explicitness import explicitness, modularity
from vaejax.evaluation.disentanglement.sap import sap

__all__ = ["DISENTANGLEMENT", "check_disentanglement", "disentanglement_metrics", "mean_encoder"]

DISENTANGLEMENT = 6  # a separate stream of random keys


def mean_encoder(family: Family, params: Params) -> Encode:
    """The function `batch -> posterior mean [B, D]` of a model with one node."""

    def encode(params: Params, batch: Batch) -> jax.Array:
        (node,) = family.model.encode(params, batch, jax.random.key(0))
        return node.posterior.mean

    return jax.tree_util.Partial(encode, params)


def check_disentanglement(family: Family, params: Params, source: Source) -> None:
    """Checks that `disentanglement_metrics` applies to a model, without computing them.

    Args:
      family: whose model.
      params: of it, or their shapes.
      source: the split.

    Raises:
      ValueError: the source has fewer than two factors, or the model's latents are not one
        continuous vector.
      ImportError: scikit-learn is missing.
    """
    check_factors(source)
    if sum(size > 1 for size in source.factor_sizes or ()) < 2:
        raise ValueError(
            f"disentanglement metrics need at least two factors that vary; those of "
            f"{source.name!r} have {source.factor_sizes} classes"
        )
    import_ensemble()
    prepare = preparation(source)

    def latents(params: Params, rows: Any, key: jax.Array) -> Any:
        return family.model.encode(params, prepare(rows, key), key)

    nodes = jax.eval_shape(latents, params, source.take(np.zeros(1, np.int32)), jax.random.key(0))
    if len(nodes) != 1:
        raise ValueError(f"disentanglement metrics need one node of latents, found {len(nodes)}")
    posterior = nodes[0].posterior
    if not capabilities_of(posterior).continuous or nodes[0].z.ndim != 2:
        shape = getattr(nodes[0].z, "shape", ())[1:]
        raise ValueError(
            "disentanglement metrics need a continuous posterior of one vector, found "
            f"{type(posterior).__name__} of shape {list(shape)}"
        )


def disentanglement_metrics(
    family: Family,
    params: Params,
    source: Source,
    key: jax.Array,
    *,
    examples: int = 15_000,
    batch_size: int = 256,
    binarize: str = "none",
    trees: int = 100,
) -> dict[str, float]:
    """All metrics of the posterior means of a split, in the protocol of 1811.12359.

    There, metrics are of all of dSprites: 10,000 samples for MIG, modularity, IRS and to train
    predictors, 5,000 to test these, and fresh samples for the β-VAE and FactorVAE scores. Here all
    examples are of the split: two thirds of the first `examples` of `eval_order` in place of the
    10,000, the rest of these in place of the 5,000, and all examples for the two scores.
    `data.holdout=0` makes a split of every image.

    Args:
      family: whose model.
      params: of it.
      source: the split, with factors.
      key: of all random numbers.
      examples: for the metrics of fixed codes, at most.
      batch_size: examples encoded at once.
      binarize: as in training.
      trees: rounds of boosting for `dci`; 0 leaves it out.

    Returns:
      mig, factor_vae_score, beta_vae_score, sap, modularity, explicitness, irs, and
      disentanglement, completeness, informativeness as `dci/...` and `dci_linear/...`.

    Raises:
      ValueError, ImportError: as from `check_disentanglement`.
    """
    check_disentanglement(family, params, source)
    encode = mean_encoder(family, params)
    data_key, *keys = jax.random.split(key, 3)
    all_codes, all_factors = encode_split(
        encode, source, data_key, batch_size=batch_size, binarize=binarize
    )
    codes, factors = all_codes[:examples], all_factors[:examples]
    rows = num_train_rows(factors, None)
    train = codes[:rows], factors[:rows]
    scores = {
        **mig(*train),
        **irs(*train),
        **modularity(*train),
        **explicitness(codes, factors),
        **sap(codes, factors),
        **factor_vae_score_of_codes(all_codes, all_factors, keys[0]),
        **beta_vae_score_of_codes(all_codes, all_factors, keys[1]),
    }
    names = ("mig", "factor_vae_score", "beta_vae_score", "sap", "modularity", "explicitness")
    result = {name: float(scores[name]) for name in (*names, "irs")}
    dci_scores = {"dci_linear": dci_linear(codes, factors)}
    if trees:
        dci_scores["dci"] = dci(codes, factors, trees=trees)
    for metric, values in dci_scores.items():
        for name in ("disentanglement", "completeness", "informativeness"):
            result[f"{metric}/{name}"] = float(values[name])
    return result
