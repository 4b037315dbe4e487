"""One sweep in its working directory, from a config to its table and plot: what the command does.

The directory holds what that of a run does, of all models together: `config.json`, `metrics.jsonl`
(a line a model, which it names), `checkpoints/` of the stacked state; and `sweep.json`, the final
figures, `figures/sweep.png`, and in `models/N/` those models that were looked at alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vaejax.core.game import Family, Params
from vaejax.core.sharding import make_mesh, replicated
from vaejax.data import Source
from vaejax.data.preprocess import event_shape, facts
from vaejax.evaluation.final_metrics import check_further, further_figures
from vaejax.evaluation.generation.features import Features
from vaejax.experiment.run import build, features_of, load_split, run, sources, training
from vaejax.experiment.workdir import Config, claim
from vaejax.sweeps import Sweep, select
from vaejax.sweeps.evaluate import chosen, grid_table, results, sweep_evaluator
from vaejax.sweeps.grid import Grid, alone, grid_of, replaced
from vaejax.sweeps.sweep import Make
from vaejax.training import fit
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.logging import table, write_json
from vaejax.training.train_step import TrainState, eval_params
from vaejax.training.two_stage import restore
from vaejax.visualization.plots import rate_distortion, sweeps


def _newest(workdir: Path, sweep: Sweep) -> TrainState:
    """The state of the newest checkpoint.

    Raises:
      FileNotFoundError: there is none.
    """
    checkpoints = Checkpoints(workdir / "checkpoints")
    try:
        if checkpoints.latest() is None:
            raise FileNotFoundError(
                f"{workdir} holds no checkpoint: train first, with --mode=train"
            )
        return checkpoints.restore(sweep.state_shape)
    finally:
        checkpoints.close()


def _take_out(workdir: Path, sweep: Sweep, model: int) -> Path:
    """Makes of one model's state a run of its own, unless that is as far already; its directory."""
    folder, state = workdir / "models" / str(model), select(_newest(workdir, sweep), model)
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        if (checkpoints.latest() or -1) < int(state.step):
            checkpoints.save(int(state.step), state)
    finally:
        checkpoints.close()
    return folder


def run_sweep(config: Config, workdir: Path, mode: str = "train") -> dict[str, Any]:
    """Trains (or goes on) and evaluates a sweep; or looks at one of its models.

    With `sweep.model` that model becomes a run of its own, in `models/N/`, from the sweep's newest
    checkpoint, and `mode` is about it.

    Args:
      config: as from `configs/`, as nested plain mappings.
      workdir: where everything goes.
      mode: `'train'`, which ends with an evaluation; `'evaluate'`; or, of one model, `'sample'`.

    Returns:
      What `sweep.json` holds; `{}` if a signal ended the training; of one model, what `run` does.

    Raises:
      ValueError, FileNotFoundError: something in the config cannot be.
      ConfigChangedError: the directory belongs to another configuration.
    """
    grid, model = grid_of(config), config["sweep"]["model"]
    whole = {**config, "sweep": {k: v for k, v in config["sweep"].items() if k != "model"}}
    if mode == "sample" and model < 0:
        raise ValueError(
            "to sample, say from which model of the sweep: --config.sweep.model=N, N from 0 to "
            f"{grid.size - 1}"
        )
    own = alone(config, grid, model) if model >= 0 else None
    mesh, first = make_mesh(**config["mesh"]), None
    if config.get("prior_of"):
        config, first = restore(config, mesh, build=build, load_split=load_split)
        whole = {**config, "sweep": whole["sweep"]}
    _, source, train_source = sources(config, first, "evaluate" if own else mode)
    shape, known = event_shape(source), facts(train_source)

    def make(values: Mapping[str, Any]) -> Family:
        return build(replaced(config, values), shape, known)

    families = [make(values) for values, _ in grid.points()]  # their errors, before any work
    settings, eval_examples = training(config)
    binarize, chunk = config["data"]["binarize"], config["sweep"]["chunk"]
    sweep = Sweep(
        make,
        grid,
        train_source,
        settings,
        binarize=binarize,
        condition_dropout=config["data"]["condition_dropout"],
        mesh=mesh,
        chunk=chunk,
    )
    if own:
        claim(workdir, whole, create=False)
        folder = _take_out(workdir, sweep, model)
        claim(folder, alone(config, grid, model), create=True)
        return dict(run(own, folder, mode))
    one = jax.eval_shape(lambda s: select(s, 0), sweep.state_shape.params)
    check_further(families[0], one, source, config["evaluate"])
    features = features_of(config, source)
    judge = sweep_evaluator(
        make,
        grid,
        sweep.state_shape.params,
        source,
        mesh,
        batch_size=settings.batch_size,
        chunk=sweep.chunk,
        binarize=binarize,
    )
    shown = chosen(config["sweep"]["figures"], judge.names)
    claim(workdir, whole, create=mode == "train")

    if mode == "train":
        print(_heading(config, workdir, sweep, mesh.size), flush=True)
        outcome = fit(
            sweep,
            settings,
            workdir=workdir,
            evaluate=lambda params, step: judge.evaluate(params, step, eval_examples),
        )
        state = outcome.state
        if outcome.interrupted:
            at = int(np.max(state.step))
            print(f"Stopped at step {at}, saved; the same command goes on from there.")
            return {}
    else:
        state = _newest(workdir, sweep)

    params, step = eval_params(state), int(np.max(state.step))
    figures = judge.evaluate(params, step)
    more = _further(config, make, grid, params, source, step, features)
    figures, shown = figures | more, shown + [name for name in more if "/" not in name]
    found = results(grid, figures, sweep.failed(state), step)
    title = f"{config['family']} on {config['data']['source']}, {grid.size} models, step {step}"
    print(grid_table(f"{title}; mean ± {found['interval']}", found, shown))
    if jax.process_index() == 0:
        write_json(workdir / "sweep.json", found)
        (workdir / "figures").mkdir(exist_ok=True)
        sweeps.sweep(workdir / "figures" / "sweep.png", found, shown)
        rate_distortion.sweep_rates(workdir / "figures" / "rate_distortion.png", found)
        print(f"Figures: {workdir / 'figures'}")
    return found


def _further(
    config: Config,
    make: Make,
    grid: Grid,
    params: Params,
    source: Source,
    step: int,
    features: Features | None,
) -> dict[str, np.ndarray]:
    """The further figures of each model, `[N]`; these of one model after another."""
    mesh = make_mesh(1)
    each = [
        further_figures(
            make(grid.of(i)),
            jax.device_put(select(params, i), replicated(mesh)),
            source,
            mesh,
            config["evaluate"],
            step=step,
            batch_size=config["train"]["batch_size"],
            seed=int(grid.seeds[i]),
            binarize=config["data"]["binarize"],
            features=features,
        )
        for i in range(grid.size)
    ]
    return {name: np.array([one[name] for one in each]) for name in each[0]}


def _heading(config: Config, workdir: Path, sweep: Sweep, devices: int) -> str:
    seeds = sorted(set(sweep.grid.seeds.tolist()))
    each = sum(leaf.size for leaf in jax.tree.leaves(sweep.state_shape.params)) // sweep.grid.size
    at_once = min(sweep.chunk, -(-sweep.grid.size // devices))
    rows = [
        ("models", f"{sweep.grid.size}, of {each:,} parameters each"),
        *((name, " ".join(f"{v:g}" for v in dict.fromkeys(values.tolist())))
          for name, values in sweep.grid.settings.items()),
        ("seeds", " ".join(map(str, seeds))),
        ("at once", f"{at_once} on each of {devices} devices"),
        ("working directory", str(workdir)),
    ]  # fmt: skip
    return table(f"Sweep of {config['family']} on {config['data']['source']}", rows)
