"""The metrics `psnr` and `ssim` of reconstructed images."""

from collections.abc import Callable, Mapping

import jax

from vaejax.core.events import event
from vaejax.core.game import Batch, Family, Params
from vaejax.core.registry import register
from vaejax.data import Source
from vaejax.data.preprocess import event_shape
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.signal_quality import SSIM_WINDOW, psnr, ssim

__all__ = ["PSNR", "SSIM", "mean_error"]


def mean_error(
    context: EvaluationContext, distance: Callable[[jax.Array, jax.Array], jax.Array]
) -> float:
    """The mean over a split of a distance of the data and their reconstructions.

    Reconstructions are the means of p(x | z) at the mean of the posterior, or at the nearest codes.

    Args:
      context: the model and the split.
      distance: `(x, reconstructions) -> [B]`.
    """
    model = context.family.model

    def of_batch(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        del key
        zs = tuple(node.z for node in model.encode(params, batch, None))
        return distance(event(batch), model.decode(params, zs, batch).mean)

    return float(context.rows_of_split(of_batch).mean(dtype="float64"))


def _reason(family: Family, source: Source, least: int) -> str | None:
    shape = event_shape(source)
    if family.model.features or family.model.sequences or len(shape) != 3:
        return f"it needs a model that reconstructs images; events of {source.name!r} are {shape}"
    if min(shape[:2]) < least:
        return f"it needs images of {least} pixels or more on each side, found {shape}"
    return None


@register("metric", "psnr")
class PSNR:
    """`psnr`: the mean peak signal-to-noise ratio of reconstructions, dB."""

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: events that are not images."""
        return _reason(family, source, 1)

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The mean over the split."""
        return {"psnr": mean_error(context, psnr)}


@register("metric", "ssim")
class SSIM:
    """`ssim`: the mean structural similarity of reconstructions, at most 1."""

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: events that are not images, or too small ones."""
        return _reason(family, source, SSIM_WINDOW)

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The mean over the split."""
        return {"ssim": mean_error(context, ssim)}
