"""What TD-VAE predicts: moving digits keep their way, an oscillator is where it is expected.

  python -m benchmarks.td_vae digits DIR [DIR ...]
  python -m benchmarks.td_vae oscillator DIR [DIR ...]

Each DIR is the working directory of a run of configs/td_vae.py on `moving_mnist`, or on
`oscillator` (see there; ablations and baselines are runs like any other). Adds what it finds to
`results/td_vae.json`, under the task and the name of the directory.

digits: 15 frames given, 1,000 held-out sequences, 8 rollouts each. A digit's place is the angle of
its mass around the frame, which wraps; `keeps_direction` is the share of rollouts whose digit has
moved the right way after five steps, `keeps_every_step` of those that did so at each of them;
`pixels_ahead/h` and `pixels_jump/d` how far the expected digit is from where the true one went.

oscillator: 100 observations given, 1,000 held-out signals. Mean squared errors of the expected
position 20 and 100 steps ahead against the true one (without noise), in one jump and step by step;
Kalman's filter, which knows the equations, and 0, the best guess without observations, beside them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import machine
from vaejax.core.events import event
from vaejax.core.game import Family, Params
from vaejax.core.registry import near_names
from vaejax.data import Source
from vaejax.data.preprocess import event_shape, facts, preparation
from vaejax.data.synthetic import oscillator
from vaejax.evaluation.sequence_prediction import futures, jumps
from vaejax.experiment.run import build, load_split
from vaejax.training import Settings, Trainer
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.train_step import eval_params

EXAMPLES, BATCH = 1000, 100
DIGITS_GIVEN, OSCILLATOR_GIVEN, HORIZONS = 15, 100, (20, 100)


def trained(workdir: Path) -> tuple[Family, Params, Source, dict[str, Any]]:
    """The family, parameters, held-out data and config of a run."""
    config = json.loads((workdir / "config.json").read_text())
    source, train = load_split(config, "eval"), load_split(config, "train")
    family = build(config, event_shape(source), facts(train))
    settings = dict(config["train"])
    settings.pop("eval_examples")
    trainer = Trainer(family, train, Settings(**settings), binarize=config["data"]["binarize"])
    state = Checkpoints(workdir / "checkpoints").restore(trainer.state_shape)
    return family, eval_params(state), source, {"steps": int(state.step), **config["model"]}


def place(frames: np.ndarray) -> np.ndarray:
    """Where the mass of frames `[..., H, W, 1]` is around their width, in pixels from 0."""
    width = frames.shape[-2]
    turn = np.exp(2j * np.pi * np.arange(width) / width)
    return np.angle((frames[..., 0].sum(axis=-2) * turn).sum(axis=-1)) * width / (2 * np.pi)


def apart(a: np.ndarray, b: np.ndarray, width: int) -> np.ndarray:
    """a − b around a circle, in (−width/2, width/2]."""
    return (a - b + width / 2) % width - width / 2


def digits(family: Family, params: Params, source: Source, binarize: str) -> dict[str, float]:
    """See above."""
    prepare, model, given = preparation(source, binarize), family.model, DIGITS_GIVEN
    longest = model.sequences.longest
    deltas = jnp.arange(1, longest + 1)

    @jax.jit
    def look(params: Params, rows: Any, key: jax.Array) -> Any:
        x = event(prepare(rows, key))
        ahead = futures(model, params, x[:, :given], 5, 8, key).ahead
        return x, ahead, jumps(model, params, x[:, :given], deltas, 8, key)

    found: dict[str, list[np.ndarray]] = {}
    for first in range(0, EXAMPLES, BATCH):
        rows = source.take(np.arange(first, first + BATCH, dtype=np.int32))
        x, ahead, landed = map(np.asarray, look(params, rows, jax.random.key(first)))
        width, direction = x.shape[3], 2 * rows["motion"][:, 2] - 1  # [B]
        begin, path = place(x[:, given - 1]), place(ahead)  # [B], [R, B, 5]
        moved = apart(path[..., -1], begin[None], width) * direction[None]
        start = np.broadcast_to(begin[None, :, None], (*path.shape[:2], 1))
        steps = np.diff(np.concatenate([start, path], axis=-1))
        steps = apart(steps, 0.0, width) * direction[None, :, None]
        found.setdefault("keeps_direction", []).append(moved > 0)
        found.setdefault("keeps_every_step", []).append((steps > 0).all(axis=-1))
        found.setdefault("moved_in_five_steps", []).append(moved)
        for h in range(1, 6):
            gap = np.abs(apart(path[..., h - 1], place(x[:, given - 1 + h])[None], width))
            found.setdefault(f"pixels_ahead/{h}", []).append(gap)
        for d in range(1, longest + 1) if longest > 1 else ():
            gap = apart(place(landed[:, :, d - 1]), place(x[:, given - 1 + d])[None], width)
            found.setdefault(f"pixels_jump/{d}", []).append(np.abs(gap))
    return {name: float(np.mean(values)) for name, values in found.items()}


def swings(family: Family, params: Params, source: Source, binarize: str) -> dict[str, float]:
    """See above."""
    del binarize
    model, given = family.model, OSCILLATOR_GIVEN
    batch = source.decode(source.take(np.arange(EXAMPLES, dtype=np.int32)))
    x, truth = np.asarray(batch["signal"]), np.asarray(batch["truth"])[..., 0]
    wanted = np.stack([truth[:, given - 1 + h] for h in HORIZONS], axis=1)
    past, key = jnp.asarray(x[:, :given]), jax.random.key(0)
    walk = jax.jit(lambda p, x: futures(model, p, x, HORIZONS[-1], 64, key).ahead.mean(axis=0))
    far = np.asarray(walk(params, past))[:, np.array(HORIZONS) - 1, 0]
    a, _ = oscillator.transition(oscillator.PERIOD, oscillator.DAMPING)
    state = oscillator.beliefs(x[:, :given])[0][:, -1]
    best = np.stack([(state @ np.linalg.matrix_power(a, h).T)[:, 0] for h in HORIZONS], axis=1)
    guesses = {"step_by_step": far, "kalman": best, "nothing": np.zeros_like(best)}
    if model.sequences.longest >= HORIZONS[-1]:
        leap = jax.jit(lambda p, x: jumps(model, p, x, jnp.asarray(HORIZONS), 64, key).mean(axis=0))
        guesses["jump"] = np.asarray(leap(params, past))[..., 0]
    return {
        f"mse_{name}/{h}": float(np.mean((guess[:, i] - wanted[:, i]) ** 2))
        for name, guess in guesses.items()
        for i, h in enumerate(HORIZONS)
    }


TASKS = {"digits": digits, "oscillator": swings}


def main() -> None:
    """Judges runs and writes what was found."""
    task, *folders = sys.argv[1:] or ["nothing"]
    if task not in TASKS or not folders:
        raise SystemExit(
            f"python -m benchmarks.td_vae TASK DIR ...: task {near_names(task, TASKS)}"
        )
    path = Path(__file__).parent / "results" / "td_vae.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    for folder in folders:
        family, params, source, of_run = trained(Path(folder))
        config = json.loads((Path(folder) / "config.json").read_text())
        found = TASKS[task](family, params, source, config["data"]["binarize"])
        own = {"family": config["family"], **of_run}
        record.setdefault(task, {})[Path(folder).name] = {**machine(), "run": own, **found}
        print(Path(folder).name, json.dumps(found, indent=2), flush=True)
        path.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
