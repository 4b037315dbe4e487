"""Quality of generated images: sharpness, Fréchet distance, precision and recall."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import event
from vaejax.core.game import Batch, Family, Params
from vaejax.core.registry import register
from vaejax.core.rng import Stream
from vaejax.core.types import PyTree
from vaejax.data import Source
from vaejax.data.preprocess import event_shape
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.generation.frechet import frechet_distance, moments
from vaejax.evaluation.generation.precision_recall import precision_recall
from vaejax.evaluation.model_shapes import is_conditional
from vaejax.evaluation.options import NEIGHBORS

__all__ = ["SampleQuality", "sample_quality"]

_COUNT = 5000
_BLOCK = 1000  # features whose moments are added at once


def _gradient_magnitude(images: jax.Array) -> jax.Array:
    """`sharpness.gradient_magnitude` of each image, `[B, H, W, C] -> [B]`."""
    horizontal = images[:, :-1, 1:] - images[:, :-1, :-1]
    vertical = images[:, 1:, :-1] - images[:, :-1, :-1]
    return jnp.sqrt(jnp.square(horizontal) + jnp.square(vertical)).mean(axis=(1, 2, 3))


def sample_quality(context: EvaluationContext, count: int) -> dict[str, float]:
    """Metrics that compare samples with as many held-out images.

    `sharpness` (see there); with a feature extractor also `frechet`, `precision`, `recall`,
    `density` and `coverage`; for reconstructions from the posterior mean,
    `sharpness/reconstructions` and `frechet/reconstructions`. Images are means of p(x | z), as in
    the figures. Dynamically binarised data are compared in their stored form, the mean of the
    binarised one. Each sample of a conditional model has the condition of a held-out example.

    Args:
      context: the model, the split and the feature extractor, without which only sharpness is
        computed.
      count: images of each kind, at most the number of held-out ones.
    """
    features, model = context.features, context.family.model
    conditional = is_conditional(context.family, context.source)
    stored = dataclasses.replace(context, binarize="none")
    compared = stored if context.binarize == "dynamic" else context

    def measured(images: jax.Array) -> dict[str, jax.Array]:
        extracted = {} if features is None else {"features": features(images)}
        return {"gradient": _gradient_magnitude(images), **extracted}

    def generated(params: Params, batch: Batch, key: jax.Array) -> PyTree:
        zs = tuple(node.z for node in model.encode(params, batch, None))
        conditions = batch if conditional else None
        samples = model.generate(params, key, event(batch).shape[0], conditions, 1.0).mean
        reconstructions = model.decode(params, zs, batch).mean
        return {"samples": measured(samples), "reconstructions": measured(reconstructions)}

    def data(params: Params, batch: Batch, key: jax.Array) -> PyTree:
        del params, key
        return {"data": measured(event(batch))}

    options: Any = {"stream": Stream.SAMPLE_QUALITY, "examples": count}
    rows = context.rows_of_split(generated, **options) | compared.rows_of_split(data, **options)
    gradients = {kind: float(v["gradient"].mean(dtype=np.float64)) for kind, v in rows.items()}
    result = {}
    if gradients["data"] > 0:
        result["sharpness"] = gradients["samples"] / gradients["data"]
        result["sharpness/reconstructions"] = gradients["reconstructions"] / gradients["data"]
    if features is None:
        return result
    of = {kind: values["features"] for kind, values in rows.items()}
    set_moments = {
        kind: moments(values[i : i + _BLOCK] for i in range(0, len(values), _BLOCK))
        for kind, values in of.items()
    }
    held_out = set_moments["data"]
    result["frechet"] = frechet_distance(held_out, set_moments["samples"])
    result["frechet/reconstructions"] = frechet_distance(held_out, set_moments["reconstructions"])
    return result | precision_recall(of["data"], of["samples"], k=NEIGHBORS)


@register("metric", "sample_quality")
class SampleQuality:
    """Sharpness, Fréchet distance, precision and recall of samples: see `sample_quality`.

    Of `evaluate.num_generated` samples; of 5,000 if the metric is selected by its name alone.
    """

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: events that are not images, or too few of them."""
        shape = event_shape(source)
        if family.model.sequences or family.model.features or len(shape) != 3 or min(shape[:2]) < 2:
            return (
                f"it needs a model that generates images; events of {source.name!r} have shape "
                f"{shape}" + ("" if len(shape) == 3 else " (for sequences see mse_rollout/h)")
            )
        if source.size <= NEIGHBORS:
            return f"it needs more than {NEIGHBORS} held-out images, found {source.size}"
        return None

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The metrics of a split."""
        return sample_quality(context, context.options.num_generated or _COUNT)
