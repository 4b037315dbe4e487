"""What an evaluation at the end of a run finds beside the figures of every checkpoint."""

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
from vaejax.distributions import Categorical, Codes, Sampled
from vaejax.evaluation.conditional import is_conditional, per_class
from vaejax.evaluation.disentanglement import all_metrics
from vaejax.evaluation.generation.features import Features
from vaejax.evaluation.generation.sample_quality import check_generation, generation_figures
from vaejax.evaluation.likelihood import importance_sampled
from vaejax.evaluation.mutual_information import check_information, information_of_split
from vaejax.evaluation.rate_distortion import (
    annealed_figures,
    check_annealing,
    is_of_curve,
)
from vaejax.evaluation.sequence_prediction import FUTURES, horizon_errors


def check_further(
    family: Family, params: Params, source: Source, evaluate: Mapping[str, Any]
) -> None:
    """Sees, without computing anything, whether `further_figures` can be asked of a model.

    Args:
      family: whose model.
      params: of it, or their shapes.
      source: the split.
      evaluate: the config's fields of this name.

    Raises:
      ValueError: something was asked that such a model or such data do not have.
      ImportError: a package is missing.
    """
    if evaluate["disentanglement"]:
        all_metrics.check_disentanglement(family, params, source)
    if evaluate["generated"]:
        check_generation(family, source, evaluate["generated"])
    elif evaluate["features"]:
        raise ValueError(
            "evaluate.features says by what to judge samples, but not how many: set "
            "evaluate.generated, to 5000 say"
        )
    anneals = evaluate["annealing"]["temperatures"]
    if not (evaluate["samples"] or evaluate["information"] or anneals):
        return
    prepare, key = preparation(source), jax.random.key(0)
    batch = jax.eval_shape(prepare, source.take(np.zeros(1, np.int32)), key)
    nodes = jax.eval_shape(family.model.encode, params, batch, key)
    kinds = [type(node.posterior).__name__ for node in nodes]
    if evaluate["samples"] and (
        not nodes or any(isinstance(node.posterior, Codes | Categorical) for node in nodes)
    ):
        raise ValueError(
            "evaluate.samples wants a model whose posteriors have densities, Gaussian ones say; "
            f"those of this one are: {', '.join(kinds) or 'none'}"
        )
    if evaluate["samples"] and any(isinstance(node.prior, Sampled) for node in nodes):
        raise ValueError(
            "evaluate.samples is of models that explain all of x; this one explains pairs of times "
            "of a sequence (its errors ahead are mse_ahead/h)"
        )
    if evaluate["information"]:
        check_information(nodes, is_conditional(family, params, source))
    if anneals:
        check_annealing(nodes, batch)


def further_figures(
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
    features: Features | None = None,
) -> dict[str, float]:
    """Figures of each class, errors ahead, and what the config asks for: what can be asked.

    Args:
      family: whose model.
      params: of it, on the devices of the mesh.
      source: the split.
      mesh: the devices.
      evaluate: the config's fields of this name.
      step: of the parameters.
      batch_size: examples at once.
      seed: of the draws.
      binarize: as in training.
      features: by which samples are judged, if any, see `load_features`.
    """
    result: dict[str, float] = {}
    options: Any = {"batch_size": batch_size, "seed": seed, "binarize": binarize}
    if source.num_classes and is_conditional(family, params, source):
        result |= per_class(family, params, source, mesh, step=step, **options)
    if samples := evaluate["samples"]:
        result["log_likelihood"] = importance_sampled(
            family,
            source,
            params,
            samples=samples,
            examples=evaluate["examples"],
            mesh=mesh,
            **options,
        )
    whole = on_one_device(mesh, params)
    if examples := evaluate["information"]:
        result |= information_of_split(family, whole, source, examples=examples, **options)
    if evaluate["annealing"]["temperatures"]:
        result |= annealed_figures(family, whole, source, **evaluate["annealing"], **options)
    if count := evaluate["generated"]:
        result |= generation_figures(family, whole, source, features, count=count, **options)
    if family.model.sequences:
        key = key_of(seed, FUTURES)
        result |= horizon_errors(family.model, whole, source, key, binarize=binarize)
    if evaluate["disentanglement"]:
        key = key_of(seed, all_metrics.DISENTANGLEMENT)
        result |= all_metrics.disentanglement(family, whole, source, key, binarize=binarize)
    return result


def shown(name: str) -> bool:
    """Whether a figure is worth a line in the table at the end of a run."""
    return name != "kl/0" and not is_of_curve(name)
