"""Figures of predictions of a sequence model: film strips, animations, signals with bands."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from vaejax.core.events import event
from vaejax.core.game import Family, Params
from vaejax.data import Source
from vaejax.data.batches import eval_order
from vaejax.data.preprocess import event_shape, preparation
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
    family: Family,
    params: Params,
    source: Source,
    folder: Path,
    *,
    binarize: str,
    seed: int,
    temperature: float = 1.0,
    count: int = 6,
) -> Path | None:
    """Writes `rollouts.png` and `.gif` of films, `predictions.png` of signals.

    The first three quarters of some held-out sequences are observed, and the rest is predicted. For
    signals the mean and two standard deviations of the mean of p(x | z) are shown: of the filtered
    estimates in the observed part, of rollouts after it.

    Returns:
      The file; None for sequences that are neither films nor signals of one channel.
    """
    shape = event_shape(source)
    observed = context_length(shape[0])
    film, signal = plots.is_film(shape), len(shape) == 2 and shape[1] == 1
    if not film and not signal:
        return None
    indices = np.sort(eval_order(source.size)[:count])
    prepare, rows = preparation(source, binarize), source.take(indices)
    data_key, key = jax.random.split(jax.random.key(seed))
    batch = jax.jit(prepare)(rows, data_key)
    x, steps, model = event(batch), shape[0] - observed, family.model
    samples = _FILM_SAMPLES if film else _BAND_SAMPLES

    predictions = jax.jit(
        lambda params, x: predict(model, params, x, steps, samples, key, temperature)
    )(params, x[:, :observed])
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


def draw_prediction_errors(path: Path, metrics: Mapping[str, float]) -> bool:
    """Draws the errors of `horizon_errors`; returns whether the metrics have any."""
    errors = {
        label: {int(n.removeprefix(start)): v for n, v in metrics.items() if n.startswith(start)}
        for label, start in _PREDICTIONS.items()
    }
    errors = {label: line for label, line in errors.items() if line}
    if errors:
        plots.errors_by_horizon(path, errors)
    return bool(errors)
