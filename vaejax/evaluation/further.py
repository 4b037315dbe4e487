"""What an evaluation at the end of a run finds beside the figures of every checkpoint."""

from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from vaejax.data import Source
from vaejax.evaluation.conditional import is_conditional, per_class
from vaejax.evaluation.disentanglement import trained
from vaejax.evaluation.futures import FUTURES, horizon_errors
from vaejax.evaluation.likelihood import importance_sampled
from vaejax.game import Family, Params
from vaejax.training.sharding import on_one_device
from vaejax.training.state import key_of


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
) -> dict[str, float]:
    """Figures of each class, errors ahead, log-likelihood, disentanglement: what can be asked.

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
    if family.model.sequences:
        key = key_of(seed, FUTURES)
        result |= horizon_errors(family.model, whole, source, key, binarize=binarize)
    if evaluate["disentanglement"]:
        key = key_of(seed, trained.DISENTANGLEMENT)
        result |= trained.disentanglement(family, whole, source, key, binarize=binarize)
    return result
