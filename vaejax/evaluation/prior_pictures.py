"""Pictures of a prior that was learned for a trained model: its samples, and those without it."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax import plotting
from vaejax.data import Source
from vaejax.evaluation.conditional import is_conditional
from vaejax.first_stage import FirstStage
from vaejax.game import Family, Params

_BATCH = 128  # samples drawn at once


def class_rows(classes: int, count: int) -> tuple[np.ndarray, int]:
    """The class of each sample, int32 `[classes · columns]`, a class a row; and the columns.

    As many columns as it takes for at least `count` samples.
    """
    columns = max(1, -(-count // classes))
    return np.repeat(np.arange(classes, dtype=np.int32), columns), columns


def draw_priors(
    first: FirstStage,
    whole: Family,
    params: Params,
    source: Source,
    folder: Path,
    *,
    seed: int,
    count: int,
    temperature: float,
    **sampling: Any,
) -> None:
    """Writes `samples.png` of the learned prior, and beside it those of the model's own.

    The latter as `samples_uniform.png` where that means codes drawn uniformly, otherwise as
    `samples_own_prior.png`. Under a prior of classes each row of samples is one class. Nothing for
    events that are no images.

    Args:
      first: the trained model.
      whole: the model under the learned prior.
      params: of the whole.
      source: the data.
      folder: for the PNG files.
      seed: of the draws.
      count: samples.
      temperature: of the learned prior.
      **sampling: further settings of `whole.model.generate`.
    """
    given, columns, labels = None, int(np.ceil(np.sqrt(count))), []
    if source.num_classes and is_conditional(whole, params, source):
        label, columns = class_rows(source.num_classes, count)
        given, count = {"label": jnp.asarray(label)}, len(label)
        names = source.class_names or [str(k) for k in range(source.num_classes)]
        labels = [str(name) for name in names]
    options = {"temperature": jnp.float32(temperature), **sampling}

    @jax.jit
    def learned(params: Params, key: jax.Array, given: Any) -> jax.Array:
        return whole.model.generate(params, key, size, given, **options).mean

    @jax.jit
    def own(params: Params, key: jax.Array, given: Any) -> jax.Array:
        del given
        return first.family.model.generate(params["first"], key, size, None, jnp.float32(1.0)).mean

    size = min(_BATCH, count)
    what = ", ".join(f"{k.replace('_', '-')} {v:g}" for k, v in sorted(sampling.items()))
    what = f"temperature {temperature:g}" + (f", {what}" if what else "")
    plain = "uniform" if first.layout else "own_prior"
    without = "Codes drawn uniformly" if first.layout else "Samples from the prior it trained with"
    for name, draw, title, rows in (
        ("samples", learned, f"Samples from the learned prior ({what})", labels),
        (f"samples_{plain}", own, f"Without it: {without[0].lower()}{without[1:]}", []),
    ):
        parts = []
        for start in range(0, count, size):
            at = np.arange(start, start + size) % count
            part = given and {k: v[at] for k, v in given.items()}
            parts.append(np.asarray(draw(params, jax.random.key(seed + start), part)))
        images = np.concatenate(parts)[:count]
        if plotting.is_image(images.shape[1:]):
            plotting.save_grid(
                folder / f"{name}.png", images, columns, title=title, row_labels=rows
            )
