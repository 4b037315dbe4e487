"""Pictures of a prior that was learned for a trained model: its samples, and those without it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Family, Params
from vaejax.data import Source
from vaejax.evaluation.conditional import is_conditional
from vaejax.training.two_stage import FirstStage
from vaejax.visualization.plots import grids_and_curves

_BATCH = 128  # samples drawn at once
_NEUTRAL = {"top_k": 0, "top_p": 1.0}  # settings under which nothing is left out


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
    size, heat = min(_BATCH, count), jnp.float32(temperature)

    def images(generate: Callable[..., Any]) -> np.ndarray:
        """`count` means of `(params, key, given) -> p(x | z)`, drawn `size` at a time."""
        compiled = jax.jit(lambda params, key, given: generate(params, key, given).mean)
        parts = []
        for start in range(0, count, size):
            at = np.arange(start, start + size) % count
            part = given and {name: value[at] for name, value in given.items()}
            parts.append(np.asarray(compiled(params, jax.random.key(seed + start), part)))
        return np.concatenate(parts)[:count]

    learned = images(lambda p, key, c: whole.model.generate(p, key, size, c, heat, **sampling))
    if not grids_and_curves.is_image(learned.shape[1:]):
        return
    own = images(lambda p, key, c: first.family.model.generate(p["first"], key, size))
    settings = {"temperature": temperature} | {
        name: value for name, value in sampling.items() if value != _NEUTRAL.get(name)
    }
    told = ", ".join(f"{name.replace('_', '-')} {value:g}" for name, value in settings.items())
    title = f"Samples from the learned prior ({told})"
    grids_and_curves.save_grid(
        folder / "samples.png", learned, columns, title=title, row_labels=labels
    )
    name, title = "samples_own_prior", "Without it: samples from the prior of its training"
    if first.layout:
        name, title = "samples_uniform", "Without it: codes drawn uniformly"
    grids_and_curves.save_grid(folder / f"{name}.png", own, columns, title=title)
