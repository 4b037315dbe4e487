"""Pictures of what a model of sequences expects: film strips, animations, signals with bands."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from vaejax.core.events import event
from vaejax.core.game import Family, Params
from vaejax.data import Source
from vaejax.data.batches import eval_order
from vaejax.data.preprocess import event_shape, preparation
from vaejax.evaluation.sequence_prediction import futures, given_of
from vaejax.visualization.plots import film_strips, rate_distortion, signals

_DRAWS = 64  # that a band is made of
_WAYS = {
    "step by step": "mse_ahead/",
    "in one jump": "mse_jump/",
    "if the last frame stays": "mse_still/",
}


def draw_futures(
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

    The first three quarters of some held-out sequences are given, and the rest is predicted. Of a
    signal the expectation and two standard deviations of p(x | z)'s mean are shown, about the past
    as it was believed at each time.

    Returns:
      The file; None if there is no way to show such sequences.
    """
    shape, given = event_shape(source), given_of(event_shape(source)[0])
    film, signal = film_strips.is_film(shape), len(shape) == 2 and shape[1] == 1
    if not film and not signal:
        return None
    indices = np.sort(eval_order(source.size)[:count])
    prepare, rows = preparation(source, binarize), source.take(indices)
    data_key, key = jax.random.split(jax.random.key(seed))
    batch = jax.jit(prepare)(rows, data_key)
    x, ahead, model = event(batch), shape[0] - given, family.model
    draws = 3 if film else _DRAWS

    found = jax.jit(lambda params, x: futures(model, params, x, ahead, draws, key, temperature))(
        params, x[:, :given]
    )
    if film:
        path = folder / "rollouts.png"
        film_strips.rollouts(
            path,
            np.asarray(x),
            np.asarray(found.ahead).swapaxes(0, 1),
            reconstruction=np.asarray(found.past[0]),
            title="Three rollouts of each sequence",
        )
        return path
    path = folder / "predictions.png"
    run = np.concatenate([found.past, found.ahead], axis=2)[..., 0]  # [R, B, T]
    truth = batch.get("truth")
    signals.beliefs(
        path,
        np.asarray(x)[..., 0],
        run.mean(axis=0)[:, None],
        run.std(axis=0)[:, None],
        given,
        truth=None if truth is None else np.asarray(truth)[..., 0],
        title="What is believed of the signal, and expected of what follows",
    )
    return path


def draw_horizons(path: Path, figures: Mapping[str, float]) -> bool:
    """Errors by horizon as a picture, where `horizon_errors` are among the figures; whether so."""
    errors = {
        label: {int(n.removeprefix(start)): v for n, v in figures.items() if n.startswith(start)}
        for label, start in _WAYS.items()
    }
    errors = {label: line for label, line in errors.items() if line}
    if errors:
        rate_distortion.horizons(path, errors)
    return bool(errors)
