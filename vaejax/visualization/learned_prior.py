"""Figures of a learned prior: its samples, and samples of the first stage without it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import PyTree, Setting
from vaejax.distributions import Distribution
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import is_conditional
from vaejax.evaluation.prior_samples import sample_means
from vaejax.training.two_stage import FirstStage
from vaejax.visualization import plots

__all__ = ["class_rows", "draw_prior_samples"]

_NEUTRAL = {"top_k": 0, "top_p": 1.0}  # settings that do not truncate the distribution


def class_rows(classes: int, count: int) -> tuple[np.ndarray, int]:
    """The class of each sample, int32 `[classes · columns]`, one class per row; and the columns.

    The number of columns is the smallest that gives at least `count` samples.
    """
    columns = max(1, -(-count // classes))
    return np.repeat(np.arange(classes, dtype=np.int32), columns), columns


def draw_prior_samples(
    first: FirstStage,
    context: EvaluationContext,
    folder: Path,
    *,
    count: int,
    temperature: float,
    **sampling: Setting,
) -> None:
    """Writes `samples.png` of the learned prior, and for comparison samples without it.

    The latter go to `samples_uniform.png` if they are from uniform codes, otherwise to
    `samples_own_prior.png`. For a class-conditional prior each row of samples has one class.
    Nothing for events that are not images.

    Args:
      first: the first stage.
      context: the two-stage model and the data.
      folder: for the PNG files.
      count: number of samples.
      temperature: of the learned prior.
      **sampling: further settings of the `generate` of the two-stage model.
    """
    family, params, source = context.family, context.local_params, context.source
    seed = context.seed
    conditions, columns, labels = None, int(np.ceil(np.sqrt(count))), []
    if source.num_classes and is_conditional(family, source):
        label, columns = class_rows(source.num_classes, count)
        conditions, count = {"label": jnp.asarray(label)}, len(label)
        names = source.class_names or [str(k) for k in range(source.num_classes)]
        labels = [str(name) for name in names]
    scale = jnp.float32(temperature)

    def from_learned_prior(
        params: Params, key: jax.Array, n: int, conditions: PyTree
    ) -> Distribution:
        return family.model.generate(params, key, n, conditions, scale, **sampling)

    def from_first_stage(
        params: Params, key: jax.Array, n: int, conditions: PyTree
    ) -> Distribution:
        return first.family.model.generate(params["first"], key, n)

    learned = sample_means(from_learned_prior, params, count, seed=seed, conditions=conditions)
    if not plots.is_image(learned.shape[1:]):
        return
    plain = sample_means(from_first_stage, params, count, seed=seed, conditions=conditions)
    settings = {"temperature": temperature} | {
        name: value for name, value in sampling.items() if value != _NEUTRAL.get(name)
    }
    described = ", ".join(f"{name.replace('_', '-')} {value:g}" for name, value in settings.items())
    title = f"Samples from the learned prior ({described})"
    plots.save_grid(folder / "samples.png", learned, columns, title=title, row_labels=labels)
    name, title = "samples_own_prior", "Samples from the prior of the first stage"
    if first.layout:
        name, title = "samples_uniform", "Samples from uniform codes"
    plots.save_grid(folder / f"{name}.png", plain, columns, title=title)
