"""Judging what a model generates: sharpness, Fréchet distance, precision and recall."""

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
from vaejax.evaluation.generation.features import Features
from vaejax.evaluation.generation.frechet import frechet_distance, moments
from vaejax.evaluation.generation.precision_recall import precision_recall
from vaejax.evaluation.generation.sharpness import gradient_magnitude

GENERATED = 10  # a stream of random keys of its own
NEIGHBOUR = 3  # as in 1904.06991


def check_generation(family: Family, source: Source, count: int) -> None:
    """Sees whether `generation_figures` can be asked of a model.

    Raises:
      ValueError: it generates no images, or too few are asked for.
    """
    shape = event_shape(source)
    if family.model.sequences or family.model.features or len(shape) != 3 or min(shape[:2]) < 2:
        raise ValueError(
            "evaluate.generated is of models that generate images; events of "
            f"{source.name!r} are {shape}"
            + ("" if len(shape) == 3 else " (of sequences see mse_ahead/h)")
        )
    if min(count, source.size) <= NEIGHBOUR:
        raise ValueError(
            f"evaluate.generated must be more than {NEIGHBOUR}, with as many held-out images; "
            f"found {count}, and {source.size} images"
        )


def generation_figures(
    family: Family,
    params: Params,
    source: Source,
    features: Features | None,
    *,
    count: int,
    batch_size: int,
    seed: int = 0,
    binarize: str = "none",
) -> dict[str, float]:
    """Figures of samples next to as many held-out images.

    `sharpness` (see there); with features also `frechet`, `precision`, `recall`, `density` and
    `coverage`; of reconstructions at the posterior's mean, `sharpness/reconstructions` and
    `frechet/reconstructions`. What is judged are means of p(x | z), as in the pictures. Data that
    are binarised anew at each use are taken as they are stored, since these are their means. Of a
    conditional model each sample is under the condition of a held-out example.

    Args:
      family: whose model.
      params: of it, on one device.
      source: the split.
      features: of images; None for sharpness alone.
      count: images of each kind, at most as many as are held out.
      batch_size: images at once.
      seed: of the samples.
      binarize: as in training.
    """
    prepare = preparation(source, binarize)
    stored = preparation(source, "none" if binarize == "dynamic" else binarize)
    conditional, model = is_conditional(family, params, source), family.model

    @jax.jit
    def look(params: Params, rows: Any, number: Any) -> dict[str, dict[str, jax.Array]]:
        key, data_key = jax.random.split(key_of(seed, GENERATED, number))
        batch, size = prepare(rows, data_key), len(next(iter(rows.values())))
        zs = tuple(node.z for node in model.encode(params, batch, None))
        given = batch if conditional else None
        images = {
            "data": stored(rows, data_key)["image"],
            "samples": model.generate(params, key, size, given, 1.0).mean,
            "reconstructions": model.decode(params, zs, batch).mean,
        }
        seen = {} if features is None else {k: features(x) for k, x in images.items()}
        return {"images": images, "features": seen}

    def batches() -> Iterator[dict[str, dict[str, np.ndarray]]]:
        size = min(count, source.size)
        for number, (indices, mask) in enumerate(eval_batches(source.size, batch_size, size)):
            found = look(params, source.take(indices), jnp.uint32(number))
            yield jax.tree.map(lambda a, mask=mask: np.asarray(a)[mask], found)

    steepness: dict[str, float] = {}
    seen: dict[str, list[np.ndarray]] = {"data": [], "samples": [], "reconstructions": []}
    for part in batches():
        for kind, images in part["images"].items():
            steepness[kind] = steepness.get(kind, 0.0) + gradient_magnitude(images) * len(images)
        for kind, values in part["features"].items():
            seen[kind].append(values)
    result = {}
    if steepness["data"] > 0:
        result["sharpness"] = steepness["samples"] / steepness["data"]
        result["sharpness/reconstructions"] = steepness["reconstructions"] / steepness["data"]
    if features is None:
        return result
    of = {kind: moments(parts) for kind, parts in seen.items()}
    result["frechet"] = frechet_distance(of["data"], of["samples"])
    result["frechet/reconstructions"] = frechet_distance(of["data"], of["reconstructions"])
    real, made = (np.concatenate(seen[kind]) for kind in ("data", "samples"))
    return result | precision_recall(real, made, k=NEIGHBOUR)
