"""Quality of generated images: sharpness, Fréchet distance, precision and recall."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Family, Params
from vaejax.core.rng import key_of
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import event_shape, preparation
from vaejax.evaluation.conditional import is_conditional
from vaejax.evaluation.generation.features import FeatureExtractor
from vaejax.evaluation.generation.frechet import frechet_distance, moments
from vaejax.evaluation.generation.precision_recall import precision_recall
from vaejax.evaluation.generation.sharpness import gradient_magnitude

__all__ = ["GENERATED", "check_sample_quality", "sample_quality"]

GENERATED = 10  # a separate stream of random keys
_NEIGHBOUR = 3  # as in 1904.06991


def check_sample_quality(family: Family, source: Source, count: int) -> None:
    """Checks that `sample_quality` applies to a model.

    Raises:
      ValueError: the model does not generate images, or `count` is too small.
    """
    shape = event_shape(source)
    if family.model.sequences or family.model.features or len(shape) != 3 or min(shape[:2]) < 2:
        raise ValueError(
            "evaluate.num_generated needs a model that generates images; events of "
            f"{source.name!r} have shape {shape}"
            + ("" if len(shape) == 3 else " (for sequences see mse_rollout/h)")
        )
    if min(count, source.size) <= _NEIGHBOUR:
        raise ValueError(
            f"evaluate.num_generated must be more than {_NEIGHBOUR}, with as many held-out images; "
            f"found {count}, and {source.size} images"
        )


def sample_quality(
    family: Family,
    params: Params,
    source: Source,
    features: FeatureExtractor | None,
    *,
    count: int,
    batch_size: int,
    seed: int = 0,
    binarize: str = "none",
) -> dict[str, float]:
    """Metrics that compare samples with as many held-out images.

    `sharpness` (see there); with a feature extractor also `frechet`, `precision`, `recall`,
    `density` and `coverage`; for reconstructions from the posterior mean,
    `sharpness/reconstructions` and `frechet/reconstructions`. Images are means of p(x | z), as in
    the figures. Dynamically binarised data are compared in their stored form, the mean of the
    binarised one. Each sample of a conditional model has the condition of a held-out example.

    Args:
      family: whose model.
      params: of it, on one device.
      source: the split.
      features: the feature extractor; None for sharpness alone.
      count: images of each kind, at most the number of held-out ones.
      batch_size: images at once.
      seed: of the samples.
      binarize: as in training.
    """
    prepare = preparation(source, binarize)
    stored = preparation(source, "none" if binarize == "dynamic" else binarize)
    conditional, model = is_conditional(family, params, source), family.model

    @jax.jit
    def batch_images(params: Params, rows: Any, number: Any) -> dict[str, dict[str, jax.Array]]:
        key, data_key = jax.random.split(key_of(seed, GENERATED, number))
        batch, size = prepare(rows, data_key), len(next(iter(rows.values())))
        zs = tuple(node.z for node in model.encode(params, batch, None))
        conditions = batch if conditional else None
        images = {
            "data": stored(rows, data_key)["image"],
            "samples": model.generate(params, key, size, conditions, 1.0).mean,
            "reconstructions": model.decode(params, zs, batch).mean,
        }
        extracted = {} if features is None else {k: features(x) for k, x in images.items()}
        return {"images": images, "features": extracted}

    def batches() -> Iterator[dict[str, dict[str, np.ndarray]]]:
        size = min(count, source.size)
        for number, (indices, mask) in enumerate(eval_batches(source.size, batch_size, size)):
            part = batch_images(params, source.take(indices), jnp.uint32(number))
            yield jax.tree.map(lambda a, mask=mask: np.asarray(a)[mask], part)

    gradients: dict[str, float] = {}  # sums over images
    extracted: dict[str, list[np.ndarray]] = {"data": [], "samples": [], "reconstructions": []}
    for part in batches():
        for kind, images in part["images"].items():
            gradients[kind] = gradients.get(kind, 0.0) + gradient_magnitude(images) * len(images)
        for kind, values in part["features"].items():
            extracted[kind].append(values)
    result = {}
    if gradients["data"] > 0:
        result["sharpness"] = gradients["samples"] / gradients["data"]
        result["sharpness/reconstructions"] = gradients["reconstructions"] / gradients["data"]
    if features is None:
        return result
    set_moments = {kind: moments(parts) for kind, parts in extracted.items()}
    data = set_moments["data"]
    result["frechet"] = frechet_distance(data, set_moments["samples"])
    result["frechet/reconstructions"] = frechet_distance(data, set_moments["reconstructions"])
    real, generated = (np.concatenate(extracted[kind]) for kind in ("data", "samples"))
    return result | precision_recall(real, generated, k=_NEIGHBOUR)
