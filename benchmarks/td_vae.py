"""Prediction errors of TD-VAE on moving digits and on an oscillator.

  python -m benchmarks.td_vae digits DIR [DIR ...]
  python -m benchmarks.td_vae oscillator DIR [DIR ...]

Each DIR is the working directory of a run of configs/td_vae.py on `moving_mnist` or on `oscillator`
(ablations and baselines are runs of it too). Adds the results to `results/td_vae.json`, under the
task and the name of the directory.

digits: 15 observed frames, 1,000 held-out sequences, 8 rollouts each. A digit's position is the
circular mean of its mass, since the frame wraps. `keeps_direction` is the fraction of rollouts
whose digit has moved in the true direction after five steps, `keeps_every_step` the fraction that
did so in every step; `pixels_ahead/h` and `pixels_jump/d` are the distances from the predicted to
the true position, of rollouts and of single jumps.

oscillator: 100 observations, 1,000 held-out signals. Mean squared errors of the predicted position
20 and 100 steps ahead against the true one (without noise), by one jump and step by step; for
comparison those of the Kalman filter, which uses the true equations, and of 0, the best prediction
without observations.
"""

import collections
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import event
from vaejax.core.game import Family, Params
from vaejax.core.registry import near_names
from vaejax.core.sharding import make_mesh
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.data.synthetic import oscillator
from vaejax.evaluation.sequence_prediction import jumpy_predictions, predict
from vaejax.experiment.build import build, load_split
from vaejax.training.restore import open_run
from vaejax.training.train_step import eval_params

from .machine import machine
from .paths import result_path, write_json

__all__ = ["main"]

_EXAMPLES, _BATCH = 1000, 100
_DIGITS_CONTEXT, _OSCILLATOR_CONTEXT, _HORIZONS = 15, 100, (20, 100)  # frames, observations, steps


def _circular_mean(frames: np.ndarray) -> np.ndarray:
    """The circular mean of the mass of frames `[..., H, W, 1]` over their width, in pixels."""
    width = frames.shape[-2]
    turn = np.exp(2j * np.pi * np.arange(width) / width)
    return np.angle((frames[..., 0].sum(axis=-2) * turn).sum(axis=-1)) * width / (2 * np.pi)


def _circular_difference(a: np.ndarray, b: np.ndarray, width: int) -> np.ndarray:
    """a − b on a circle, in (−width/2, width/2]."""
    return (a - b + width / 2) % width - width / 2


def _digits(family: Family, params: Params, source: Source, binarize: str) -> dict[str, float]:
    """The metrics of the task `digits`."""
    prepare, model, context = preparation(source, binarize), family.model, _DIGITS_CONTEXT
    longest = model.sequences.max_delta
    deltas = jnp.arange(1, longest + 1)

    @jax.jit
    def predictions(params: Params, rows: Any, key: jax.Array) -> Any:
        x = event(prepare(rows, key))
        rollout = predict(model, params, x[:, :context], 5, 8, key).rollout
        return x, rollout, jumpy_predictions(model, params, x[:, :context], deltas, 8, key)

    values: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for first in range(0, _EXAMPLES, _BATCH):
        rows = source.take(np.arange(first, first + _BATCH, dtype=np.int32))
        x, rollout, jumps = map(np.asarray, predictions(params, rows, jax.random.key(first)))
        width, direction = x.shape[3], 2 * rows["motion"][:, 2] - 1  # [B]
        truth, path = _circular_mean(x), _circular_mean(rollout)  # [B, T], [R, B, 5]
        last = truth[:, context - 1]
        moved = _circular_difference(path[..., -1], last[None], width) * direction[None]
        start = np.broadcast_to(last[None, :, None], (*path.shape[:2], 1))
        steps = np.diff(np.concatenate([start, path], axis=-1))
        steps = _circular_difference(steps, 0.0, width) * direction[None, :, None]
        values["keeps_direction"].append(moved > 0)
        values["keeps_every_step"].append((steps > 0).all(axis=-1))
        values["moved_in_five_steps"].append(moved)
        for h in range(1, 6):
            error = _circular_difference(path[..., h - 1], truth[None, :, context - 1 + h], width)
            values[f"pixels_ahead/{h}"].append(np.abs(error))
        for d in range(1, longest + 1) if longest > 1 else ():
            position = _circular_mean(jumps[:, :, d - 1])
            error = _circular_difference(position, truth[None, :, context - 1 + d], width)
            values[f"pixels_jump/{d}"].append(np.abs(error))
    return {name: float(np.mean(parts)) for name, parts in values.items()}


def _oscillator(family: Family, params: Params, source: Source, binarize: str) -> dict[str, float]:
    """The metrics of the task `oscillator`."""
    del binarize
    model, context = family.model, _OSCILLATOR_CONTEXT
    batch = source.decode(source.take(np.arange(_EXAMPLES, dtype=np.int32)))
    x, truth = np.asarray(batch["signal"]), np.asarray(batch["truth"])[..., 0]
    target = np.stack([truth[:, context - 1 + h] for h in _HORIZONS], axis=1)
    observed, key = jnp.asarray(x[:, :context]), jax.random.key(0)

    @jax.jit
    def rollout(params: Params, x: jax.Array) -> jax.Array:
        return predict(model, params, x, _HORIZONS[-1], 64, key).rollout.mean(axis=0)

    @jax.jit
    def jump(params: Params, x: jax.Array) -> jax.Array:
        deltas = jnp.asarray(_HORIZONS)
        return jumpy_predictions(model, params, x, deltas, 64, key).mean(axis=0)

    step_by_step = np.asarray(rollout(params, observed))[:, np.array(_HORIZONS) - 1, 0]
    a, _ = oscillator.transition(oscillator.PERIOD, oscillator.DAMPING)
    state = oscillator.kalman_filter(x[:, :context])[0][:, -1]
    kalman = np.stack([(state @ np.linalg.matrix_power(a, h).T)[:, 0] for h in _HORIZONS], axis=1)
    predictions = {"step_by_step": step_by_step, "kalman": kalman, "nothing": np.zeros_like(kalman)}
    if model.sequences.max_delta >= _HORIZONS[-1]:
        predictions["jump"] = np.asarray(jump(params, observed))[..., 0]
    return {
        f"mse_{name}/{h}": float(np.mean((prediction[:, i] - target[:, i]) ** 2))
        for name, prediction in predictions.items()
        for i, h in enumerate(_HORIZONS)
    }


_TASKS = {"digits": _digits, "oscillator": _oscillator}


def main() -> None:
    """Evaluates runs, prints and writes."""
    task, *folders = sys.argv[1:] or ["nothing"]
    if task not in _TASKS or not folders:
        raise SystemExit(f"python -m {__spec__.name} TASK DIR ...: task {near_names(task, _TASKS)}")
    path = result_path("td_vae.json")
    record = json.loads(path.read_text()) if path.exists() else {}
    for folder in map(Path, folders):
        run = open_run(folder, make_mesh(1), "workdir", build=build, load_split=load_split)
        state, source = run.restore(0), load_split(run.config, "eval")
        binarize = run.config["data"]["binarize"]
        metrics = _TASKS[task](run.family, eval_params(state), source, binarize)
        about = {"family": run.config["family"], "steps": int(state.step), **run.config["model"]}
        record.setdefault(task, {})[folder.name] = {**machine(), "run": about, **metrics}
        print(folder.name, json.dumps(metrics, indent=2), flush=True)
        write_json(path, record)


if __name__ == "__main__":
    main()
