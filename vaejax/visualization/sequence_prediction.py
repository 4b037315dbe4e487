"""Figures of predictions of a sequence model: film strips, animations, signals with bands."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from vaejax.core.events import event
from vaejax.core.registry import register
from vaejax.data.batches import eval_order
from vaejax.data.preprocess import event_shape
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.sequence_prediction import context_length, predict
from vaejax.visualization import plots

__all__ = ["draw_prediction_errors", "draw_predictions"]

_FILM_SAMPLES, _BAND_SAMPLES = 3, 64  # rollouts of a film, and for the mean and band of a signal
_PREDICTIONS = {
    "rollout, step by step": "mse_rollout/",
    "direct, in one jump": "mse_direct/",
    "copy of the last frame": "mse_copy_last/",
}


def draw_predictions(
    context: EvaluationContext, folder: Path, *, temperature: float = 1.0, count: int = 6
) -> Path | None:
    """Writes `rollouts.png` and `.gif` of films, `predictions.png` of signals.

    The first three quarters of some held-out sequences are observed, and the rest is predicted. For
    signals the mean and two standard deviations of the mean of p(x | z) are shown: of the filtered
    estimates in the observed part, of rollouts after it.

    Returns:
      The file; None for sequences that are neither films nor signals of one channel, and for those
      with padding or missing frames.
    """
    source, model = context.source, context.family.model
    shape = event_shape(source)
    observed = context_length(shape[0])
    film, signal = plots.is_film(shape), len(shape) == 2 and shape[1] == 1
    if not film and not signal:
        return None
    indices = np.sort(eval_order(source.size)[:count])
    data_key, key = jax.random.split(jax.random.key(context.seed))
    batch = jax.jit(context.prepare)(source.take(indices), data_key)
    if "mask" in batch:
        return None
    x, steps = event(batch), shape[0] - observed
    samples = _FILM_SAMPLES if film else _BAND_SAMPLES

    predictions = jax.jit(
        lambda params, x: predict(model, params, x, steps, samples, key, temperature)
    )(context.local_params, x[:, :observed])
    if film:
        path = folder / "rollouts.png"
        plots.rollouts(
            path,
            np.asarray(x),
            np.asarray(predictions.rollout).swapaxes(0, 1),
            reconstruction=np.asarray(predictions.filtered[0]),
            title="Three rollouts of each sequence",
        )
        return path
    path = folder / "predictions.png"
    estimates = np.concatenate([predictions.filtered, predictions.rollout], axis=2)
    estimates = estimates[..., 0]  # [R, B, T]
    truth = batch.get("truth")
    plots.signal_predictions(
        path,
        np.asarray(x)[..., 0],
        estimates.mean(axis=0)[:, None],
        estimates.std(axis=0)[:, None],
        observed,
        truth=None if truth is None else np.asarray(truth)[..., 0],
        title="Filtered estimate and forecast",
    )
    return path


@register("figure", "prediction_errors")
def draw_prediction_errors(metrics: Mapping[str, float], folder: Path) -> bool:
    """Writes `horizons.png`, the errors of `horizon_errors`, if there are any."""
    errors = {
        label: {int(n.removeprefix(start)): v for n, v in metrics.items() if n.startswith(start)}
        for label, start in _PREDICTIONS.items()
    }
    errors = {label: line for label, line in errors.items() if line}
    if errors:
        plots.errors_by_horizon(folder / "horizons.png", errors)
    return bool(errors)
