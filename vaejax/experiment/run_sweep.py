"""One sweep in its working directory: many models, trained in one program and compared.

The directory has the files of a run, for all models together: `config.json`, `metrics.jsonl` (one
line per model and record), `checkpoints/` of the stacked state; and `sweep.json` with the final
metrics, `figures/sweep.png`, and in `models/N/` the models that were made a run of their own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vaejax.core.files import make_folder, write_bytes, write_json
from vaejax.core.game import Family, Params
from vaejax.core.plugins import import_plugins
from vaejax.core.sharding import make_mesh, replicated
from vaejax.data import Source
from vaejax.data.preprocess import dataset_info, event_shape
from vaejax.data.spec import spec_of
from vaejax.evaluation.final_metrics import check_final_metrics, final_metrics
from vaejax.evaluation.generation.features import FeatureExtractor
from vaejax.experiment.build import (
    build,
    feature_extractor_of,
    load_split,
    sources,
    training_settings,
)
from vaejax.experiment.fingerprint import fingerprint, keep_fingerprint
from vaejax.experiment.outcome import check_elbo, check_steps_taken, check_stopped
from vaejax.experiment.run import run
from vaejax.experiment.workdir import FINGERPRINT, Config, acquire_workdir, check_is_ours, flatten
from vaejax.sweeps import Sweep, select
from vaejax.sweeps.evaluate import grid_table, results, select_metrics, sweep_evaluator
from vaejax.sweeps.grid import Grid, config_of_model, grid_of, substitute
from vaejax.sweeps.sweep import Make
from vaejax.training import fit
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.checkpoint_reader import checkpoint_steps
from vaejax.training.lock import check_unlocked, lock, workdir_locks
from vaejax.training.logging import table
from vaejax.training.renamed_fields import check_names
from vaejax.training.restore import restore_state
from vaejax.training.train_step import TrainState, eval_params
from vaejax.training.two_stage import restore
from vaejax.visualization import plots

__all__ = ["run_sweep"]


def _newest(workdir: Path, sweep: Sweep) -> TrainState:
    """The state of the newest checkpoint.

    Raises:
      FileNotFoundError: there is none.
    """
    return restore_state(workdir / "checkpoints", sweep.state_shape)


def _take_out(workdir: Path, sweep: Sweep, model: int, folder: Path) -> None:
    """Writes one model's state as a checkpoint of its own run in a folder."""
    state = select(_newest(workdir, sweep), model)
    if max(checkpoint_steps(folder / "checkpoints"), default=-1) < int(state.step):
        lock(folder)
        checkpoints = Checkpoints(folder / "checkpoints")
        checkpoints.save(int(state.step), state)
        checkpoints.close()


def run_sweep(config: Config, workdir: Path, mode: str = "train") -> dict[str, Any]:
    """Trains (or resumes) and evaluates a sweep; or one of its models.

    With `sweep.index=N` that model becomes a run of its own in `models/N/`, from the sweep's newest
    checkpoint, and `mode` applies to it.

    Args:
      config: as from `configs/`, as nested plain mappings.
      workdir: where everything goes.
      mode: `'train'`, which ends with an evaluation; `'evaluate'`; for one model also `'sample'`.

    Returns:
      The content of `sweep.json`; for one model as `run`.

    Raises:
      ValueError, FileNotFoundError: an impossible setting, or missing data.
      ConfigChangedError: the directory belongs to another configuration.
      LockedError, NotFiniteError, StoppedError, WriteError: as from `run`; NotFiniteError if no
        model has a finite ELBO.
    """
    with workdir_locks():
        return _run_sweep(config, workdir, mode)


def _run_sweep(config: Config, workdir: Path, mode: str) -> dict[str, Any]:
    check_names(flatten(config))
    check_is_ours(workdir)
    if mode == "train" and config["sweep"]["index"] < 0:
        check_unlocked(workdir)
    import_plugins(config.get("imports", ()))
    grid, model = grid_of(config), config["sweep"]["index"]
    whole = {**config, "sweep": {k: v for k, v in config["sweep"].items() if k != "index"}}
    if mode == "sample" and model < 0:
        raise ValueError(
            "choose the model of the sweep to sample from: --config.sweep.index=N, N from 0 to "
            f"{grid.size - 1}"
        )
    single = config_of_model(config, grid, model) if model >= 0 else None
    mesh, first = make_mesh(**config["mesh"]), None
    if config.get("first_stage"):
        config, first = restore(config, mesh, build=build, load_split=load_split)
        whole = {**config, "sweep": whole["sweep"]}
    data, source, train_source = sources(config, first, "evaluate" if single else mode)
    shape, known = event_shape(source), dataset_info(train_source)

    def make(values: Mapping[str, Any]) -> Family:
        return build(substitute(config, values), shape, known)

    families = [make(values) for values, _ in grid.points()]  # errors come before any training
    settings, eval_examples = training_settings(config)
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
    if single:
        acquire_workdir(workdir, whole, create=False)
        folder = workdir / "models" / str(model)
        create = mode == "train" or not (folder / "config.json").exists()
        acquire_workdir(folder, config_of_model(config, grid, model), create=create)
        _take_out(workdir, sweep, model, folder)
        for name in ("data.json", FINGERPRINT):
            if (workdir / name).exists() and not (folder / name).exists():
                write_bytes(folder / name, (workdir / name).read_bytes())
        return dict(run(single, folder, mode))
    one = jax.eval_shape(lambda s: select(s, 0), sweep.state_shape.params)
    check_final_metrics(families[0], one, source, config["evaluate"])
    features = feature_extractor_of(config, source)
    evaluation = sweep_evaluator(
        make,
        grid,
        sweep.state_shape.params,
        source,
        mesh,
        batch_size=settings.batch_size,
        chunk=sweep.chunk,
        binarize=binarize,
    )
    shown = select_metrics(config["sweep"]["metrics"], evaluation.names)
    acquire_workdir(workdir, whole, create=mode == "train")
    of_data = fingerprint(whole, None if first else train_source, data, first)
    keep_fingerprint(workdir, of_data, train=mode == "train")
    if mode == "train" and jax.process_index() == 0:
        write_json(workdir / "data.json", spec_of(train_source, binarize).to_json())

    if mode == "train":
        print(_heading(config, workdir, sweep, mesh.size), flush=True)
        outcome = fit(
            sweep,
            settings,
            workdir=workdir,
            evaluate=lambda params, step: evaluation.evaluate(params, step, eval_examples),
        )
        state = outcome.state
        check_stopped(outcome)
    else:
        state = _newest(workdir, sweep)

    params, step = eval_params(state), int(np.max(state.step))
    metrics = evaluation.evaluate(params, step)
    metrics["skipped"] = np.asarray(state.total_skipped)
    more = _final_metrics(config, make, grid, params, source, step, features)
    metrics, shown = metrics | more, shown + [name for name in more if "/" not in name]
    found = results(grid, metrics, sweep.failed(state), step)
    title = f"{config['family']} on {config['data']['source']}, {grid.size} models, step {step}"
    print(grid_table(f"{title}; mean ± {found['interval']}", found, shown))
    if jax.process_index() == 0:
        write_json(workdir / "sweep.json", found)
        make_folder(workdir / "figures")
        plots.sweep(workdir / "figures" / "sweep.png", found, shown)
        plots.rate_distortion_of_sweep(workdir / "figures" / "rate_distortion.png", found)
        print(f"Figures: {workdir / 'figures'}")
    check_steps_taken(state)
    check_elbo({"elbo": float(np.nanmax([*metrics.get("elbo", [0.0]), -np.inf]))})
    return found


def _final_metrics(
    config: Config,
    make: Make,
    grid: Grid,
    params: Params,
    source: Source,
    step: int,
    features: FeatureExtractor | None,
) -> dict[str, np.ndarray]:
    """The final metrics of each model, `[N]`; computed for one model after another."""
    mesh = make_mesh(1)
    each = [
        final_metrics(
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
