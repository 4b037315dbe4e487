"""All figures of a trained model that apply to its latents and to the events of its data."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from vaejax.core.files import make_folder
from vaejax.core.game import Batch, Family, Params, Trace
from vaejax.core.types import Setting
from vaejax.data.preprocess import event_shape
from vaejax.distributions import Uniform
from vaejax.distributions.point_estimate import point_estimate
from vaejax.evaluation.conditional_samples import condition_batch
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.ladder_layers import is_ladder
from vaejax.evaluation.latent_space import posterior_means, vector_node
from vaejax.evaluation.reconstructions import Reconstructions, has_latents, reconstruct
from vaejax.evaluation.sparse_factors import selector_weights
from vaejax.losses.metrics import UsedCodes, code_counts
from vaejax.training.logging import read_records
from vaejax.visualization import plots
from vaejax.visualization.conditional import draw_conditional
from vaejax.visualization.event_renderers import EventRenderer, event_renderer
from vaejax.visualization.ladder_layers import draw_ladder_layers
from vaejax.visualization.latent_space import (
    draw_interpolations,
    draw_latent_map,
    draw_traversals,
    map_panels,
)
from vaejax.visualization.sequence_prediction import draw_predictions
from vaejax.visualization.sparse_factors import draw_sparse_factors

__all__ = ["draw_figures", "draw_samples"]

_SLOTS = 8  # code indices of a token whose usage is drawn, at most
_RECONSTRUCTIONS = 36


def draw_samples(
    family: Family,
    params: Params,
    folder: Path,
    *,
    seed: int,
    count: int,
    temperature: float,
    title: str = "Samples from the prior",
    conditions: Batch | None = None,
    renderer: EventRenderer | None = None,
    **sampling: Setting,
) -> Path | None:
    """Writes `samples.png`: means of p(x | z) at z ~ prior, under `conditions` if there are any.

    Further settings are for the model's `generate`.

    Returns:
      The file, `samples.txt` if the renderer writes text; None without a renderer.
    """
    generate = jax.jit(family.model.generate, static_argnums=2)
    scale = np.float32(temperature)
    p = generate(params, jax.random.key(seed), count, conditions, scale, **sampling)
    if renderer is None:
        return None
    path = folder / f"samples{renderer.suffix}"
    renderer.samples(path, np.asarray(point_estimate(p)), title)
    return path


def _draw_code_usage(trace: Trace, path: Path) -> None:
    usage, sizes = {}, {}
    for i, c in jax.jit(code_counts)(trace).items():
        counts, size = (c.counts, int(c.size)) if isinstance(c, UsedCodes) else (c, c.shape[1])
        for slot, count in enumerate(counts[:_SLOTS]):
            which = f"node {i}" + (f" slot {slot}" if len(counts) > 1 else "")
            name = f"{which}, {len(trace.x)} examples"
            usage[name], sizes[name] = np.asarray(count), size
    if usage:
        plots.code_usage(path, usage, sizes)


def draw_figures(
    context: EvaluationContext,
    folder: Path,
    *,
    records: Path,
    samples: bool = True,
    traversals: bool = True,
    count: int = 64,
    temperature: float = 1.0,
    **sampling: Setting,
) -> None:
    """Writes all figures that apply: reconstructions, samples, traversals, codes, curves.

    For one continuous vector also interpolations between examples, and a map if there are labels or
    factors. Tokens are shown as text, in `.txt` files. For a model without latents, which gives
    p(x) itself, only samples and curves.

    Args:
      context: the model and the evaluation split.
      folder: for the files.
      records: the run's `metrics.jsonl`.
      samples: whether to draw samples.
      traversals: whether to draw traversals and interpolations of one continuous vector.
      count: number of samples.
      temperature: of the prior.
      **sampling: further settings of the model's `generate`.
    """
    make_folder(folder)
    logged = read_records(records)
    if logged:
        plots.curves(folder / "losses.png", logged)
    if context.family.model.sequences:
        draw_predictions(context, folder, temperature=temperature)
        return
    family, source = context.family, context.source
    renderer = event_renderer(source)
    sampling = {"seed": context.seed, "count": count, "temperature": temperature, **sampling}
    if not has_latents(family, source):
        if samples and family.model.features is None:  # a classifier generates nothing
            conditions = condition_batch(context, count)
            params = context.local_params
            draw_samples(
                family, params, folder, conditions=conditions, renderer=renderer, **sampling
            )
        return
    found = reconstruct(context)
    _draw_latents(context, folder, found)
    if renderer is None:
        return
    x = np.asarray(found.trace.x)
    rows = np.linspace(0, len(x) - 1, min(_RECONSTRUCTIONS, len(x))).astype(int)
    path = folder / f"reconstructions{renderer.suffix}"
    renderer.reconstructions(path, x[rows], np.asarray(found.means)[rows])
    conditions = condition_batch(context, count) if samples or traversals else None
    if samples:
        _draw_prior_samples(context, folder, found.trace, conditions, renderer, sampling)
    if traversals:
        _draw_latent_space(context, folder, found, conditions)


def _draw_latents(context: EvaluationContext, folder: Path, found: Reconstructions) -> None:
    """Usage of codes, columns of sparse factors, layers of a ladder, a map of one vector."""
    family, params, source = context.family, context.local_params, context.source
    trace = found.trace
    _draw_code_usage(trace, folder / "codes.png")
    weights = selector_weights(params)
    if weights is not None:
        draw_sparse_factors(folder / "factors.png", weights, source.column_names)
    if is_ladder(family, trace.latents):
        images = plots.is_image(event_shape(source))
        draw_ladder_layers(family, params, trace, folder, seed=context.seed, images=images)
    if vector_node(trace.latents) is not None:
        panels = map_panels(source, found.batch)
        draw_latent_map(folder / "latents.png", np.asarray(posterior_means(trace)), panels)


def _draw_prior_samples(
    context: EvaluationContext,
    folder: Path,
    trace: Trace,
    conditions: Batch | None,
    renderer: EventRenderer,
    sampling: dict[str, Any],
) -> None:
    """Samples from the prior, and for a conditional model the figures of its conditions."""
    title = "Samples from the prior"
    if any(isinstance(node.prior, Uniform) for node in trace.latents):
        title = "Samples from uniform codes, before a prior is learned"
    if conditions is not None:
        title = "Samples from the prior, under the conditions of held-out examples"
        draw_conditional(context, folder, temperature=sampling["temperature"])
    draw_samples(
        context.family, context.local_params, folder,
        title=title, conditions=conditions, renderer=renderer, **sampling,
    )  # fmt: skip


def _draw_latent_space(
    context: EvaluationContext, folder: Path, found: Reconstructions, conditions: Batch | None
) -> None:
    """Traversals and interpolations of one continuous vector, of a model of images."""
    node = vector_node(found.trace.latents)
    if node is None or not plots.is_image(event_shape(context.source)):
        return
    family, params = context.family, context.local_params
    path = folder / "traversals.png"
    draw_traversals(family, params, node, path, conditions=conditions)
    examples = None if conditions is None else found.batch
    path = folder / "interpolations.png"
    draw_interpolations(family, params, found.trace, path, conditions=examples)
