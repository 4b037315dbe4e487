"""Events sampled from a trained model, with the conditions that they were sampled under."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.dependencies import fields_read
from vaejax.core.events import EVENTS
from vaejax.core.game import Batch, Model, Params
from vaejax.core.types import Setting
from vaejax.distributions.point_estimate import point_estimate
from vaejax.evaluation.conditional_samples import condition_batch, evenly_spaced_examples
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import batch_shapes

__all__ = ["sampled_events"]

_BATCH = 128  # samples at once
_NAMES = ("class_names", "column_names", "token_names")


def sampled_events(
    context: EvaluationContext, count: int, *, temperature: float = 1.0, **sampling: Setting
) -> dict[str, np.ndarray]:
    """Events at samples of z from the prior, in the units of the data.

    Rows of a table are samples of p(x | z); all other events are its means, or the most likely
    classes. A conditional model samples under the conditions of examples that are evenly spaced
    over the split; a model of predictions continues these examples.

    Args:
      context: the model and the split.
      count: number of samples.
      temperature: of the prior.
      **sampling: further settings of the model's `generate`.

    Returns:
      The events by the name of their field, as `image` `[count, H, W, C]`; `label` or `condition`
      of a conditional model; names of classes, columns and tokens. An npz file of these is data
      that `load` reads.
    """
    model, source = context.family.model, context.source
    shapes = batch_shapes(source)
    event = next(name for name in EVENTS if name in shapes)
    conditions = condition_batch(context, count)
    if model.sequences is not None:
        conditions = evenly_spaced_examples(context, count)
    events = _generate(context, count, event == "vector", conditions, temperature, sampling)
    result = {event: events}
    if conditions is not None and model.sequences is None:
        read = set(_condition_fields(model, shapes)) & {"label", "condition"}
        result |= {name: np.asarray(conditions[name]) for name in sorted(read)}
    named = {"class_names": "label", "column_names": "vector", "token_names": "tokens"}
    for name in _NAMES:
        if named[name] in result and (values := getattr(source, name)):
            result[name] = np.array(values)
    return result


def _condition_fields(model: Model, shapes: Batch) -> list[str]:
    def condition(batch: Batch) -> Any:
        params = model.init(jax.random.key(0), batch)
        return model.forward(params, batch, jax.random.key(0), None).condition

    return fields_read(condition, shapes)


def _generate(
    context: EvaluationContext,
    count: int,
    draw: bool,
    conditions: Batch | None,
    temperature: float,
    sampling: Setting,
) -> np.ndarray:
    """`count` events, in batches."""
    model, size, scale = context.family.model, min(_BATCH, count), jnp.float32(temperature)

    @jax.jit
    def generate(params: Params, key: jax.Array, part: Batch | None) -> jax.Array:
        p = model.generate(params, key, size, part, scale, **sampling)
        return p.sample(jax.random.fold_in(key, 1)) if draw else point_estimate(p)

    parts = []
    for start in range(0, count, size):
        rows = np.arange(start, start + size) % count
        part = conditions and {name: value[rows] for name, value in conditions.items()}
        key = jax.random.key(context.seed + start)
        parts.append(np.asarray(generate(context.local_params, key, part)))
    return np.concatenate(parts)[:count]
