"""Metrics computed once, after training, in addition to those of every checkpoint."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vaejax.core.game import Family, Params
from vaejax.core.rng import key_of
from vaejax.core.sharding import on_one_device
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.evaluation.conditional import is_conditional, per_class
from vaejax.evaluation.disentanglement.all_metrics import (
    DISENTANGLEMENT,
    check_disentanglement,
    disentanglement_metrics,
)
from vaejax.evaluation.generation.features import FeatureExtractor
from vaejax.evaluation.generation.sample_quality import check_sample_quality, sample_quality
from vaejax.evaluation.likelihood import check_importance_sampling, importance_sampled
from vaejax.evaluation.metric import EvaluationContext, compute_metrics, metrics_named
from vaejax.evaluation.mutual_information import (
    check_mutual_information,
    mutual_information_of_split,
)
from vaejax.evaluation.rate_distortion import annealed_metrics, check_annealing, is_curve_point
from vaejax.evaluation.sequence_prediction import PREDICTION, horizon_errors

__all__ = ["check_final_metrics", "final_metrics", "in_summary"]


def check_final_metrics(
    family: Family, params: Params, source: Source, evaluate: Mapping[str, Any]
) -> None:
    """Validates the requested metrics for a model and its data, without computing them.

    Args:
      family: whose model.
      params: of it, or their shapes.
      source: the split.
      evaluate: the fields of the config's section `evaluate`.

    Raises:
      ValueError: a requested metric does not apply to the model or the data.
      ImportError: a package is missing.
    """
    metrics_named(evaluate["metrics"], family, source)
    if evaluate["disentanglement"]:
        check_disentanglement(family, params, source)
    if evaluate["num_generated"]:
        check_sample_quality(family, source, evaluate["num_generated"])
    elif evaluate["feature_extractor"]:
        raise ValueError(
            "evaluate.feature_extractor is set, but the number of samples is not: set "
            "evaluate.num_generated, for example to 5000"
        )
    anneals = evaluate["annealing"]["temperatures"]
    if not (evaluate["importance_samples"] or evaluate["mutual_information_samples"] or anneals):
        return
    prepare, key = preparation(source), jax.random.key(0)
    batch = jax.eval_shape(prepare, source.take(np.zeros(1, np.int32)), key)
    nodes = jax.eval_shape(family.model.encode, params, batch, key)
    if evaluate["importance_samples"]:
        check_importance_sampling("evaluate.importance_samples", nodes)
    if evaluate["mutual_information_samples"]:
        check_mutual_information(nodes, is_conditional(family, params, source))
    if anneals:
        check_annealing(nodes, batch)


def final_metrics(
    family: Family,
    params: Params,
    source: Source,
    mesh: Mesh,
    evaluate: Mapping[str, Any],
    *,
    step: int,
    batch_size: int,
    seed: int,
    binarize: str,
    features: FeatureExtractor | None = None,
) -> dict[str, float]:
    """The ELBO of each class, prediction errors of sequences, and the metrics of the config.

    Args:
      family: whose model.
      params: of it, on the devices of the mesh.
      source: the split.
      mesh: the devices.
      evaluate: the fields of the config's section `evaluate`.
      step: of the parameters.
      batch_size: examples at once.
      seed: of all random keys.
      binarize: as in training.
      features: the feature extractor that samples are evaluated with, see
        `load_feature_extractor`; None for none.
    """
    result: dict[str, float] = {}
    options: Any = {"batch_size": batch_size, "seed": seed, "binarize": binarize}
    if source.num_classes and is_conditional(family, params, source):
        result |= per_class(family, params, source, mesh, step=step, **options)
    if samples := evaluate["importance_samples"]:
        result["log_likelihood"] = importance_sampled(
            family,
            source,
            params,
            samples=samples,
            examples=evaluate["examples"],
            mesh=mesh,
            **options,
        )
    local = on_one_device(mesh, params)
    if examples := evaluate["mutual_information_samples"]:
        result |= mutual_information_of_split(family, local, source, examples=examples, **options)
    if evaluate["annealing"]["temperatures"]:
        result |= annealed_metrics(family, local, source, **evaluate["annealing"], **options)
    if count := evaluate["num_generated"]:
        result |= sample_quality(family, local, source, features, count=count, **options)
    if family.model.sequences:
        key = key_of(seed, PREDICTION)
        result |= horizon_errors(family.model, local, source, key, binarize=binarize)
    if evaluate["disentanglement"]:
        key = key_of(seed, DISENTANGLEMENT)
        result |= disentanglement_metrics(family, local, source, key, binarize=binarize)
    if evaluate["metrics"]:
        context = EvaluationContext(family, params, source, mesh, step, batch_size, seed, binarize)
        result |= compute_metrics(evaluate["metrics"], context)
    return result


def in_summary(name: str) -> bool:
    """Whether a metric is printed in the table at the end of a run."""
    return name != "kl/0" and not is_curve_point(name)
