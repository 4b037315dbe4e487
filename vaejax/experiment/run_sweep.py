"""One sweep in its working directory: many models, trained in one program and compared.

The directory has the files of a run, for all models together: `config.json`, `metrics.jsonl` (one
line per model and record), `checkpoints/` of the stacked state; and `sweep.json` with the final
metrics, `figures/sweep.png`, and in `models/N/` the models that were made a run of their own.
"""

from collections.abc import Sequence
from pathlib import Path

import jax

from vaejax.core.files import write_json
from vaejax.core.types import PyTree, Setting
from vaejax.data.spec import spec_of
from vaejax.experiment.checkpoint import parse_checkpoint
from vaejax.experiment.evaluate_sweep import evaluate_sweep
from vaejax.experiment.fingerprint import keep_fingerprint
from vaejax.experiment.model_of_sweep import newest_state, take_out
from vaejax.experiment.outcome import check_stopped
from vaejax.experiment.prepare_sweep import SweepExperiment, prepare_sweep
from vaejax.experiment.resume import start_from
from vaejax.experiment.run import run
from vaejax.experiment.second_stage import has_second_stage
from vaejax.experiment.target import OWN_DATA, Target
from vaejax.experiment.tracking import tracking
from vaejax.experiment.workdir import Config, acquire_workdir
from vaejax.export.hub import Repository
from vaejax.sweeps import select
from vaejax.sweeps.grid import config_of_model, grid_of
from vaejax.training import Outcome, fit
from vaejax.training.lock import workdir_locks
from vaejax.training.logging import table, write_results
from vaejax.training.trackers import Trackers
from vaejax.training.train_step import TrainState, steps_taken

__all__ = ["evaluate_sweep", "run_sweep", "train_sweep"]


def run_sweep(
    config: Config,
    workdir: Path,
    mode: str = "train",
    *,
    target: Target = OWN_DATA,
    checkpoint: str | int = "auto",
    allow_change: Sequence[str] = (),
    repository: Repository | None = None,
    command: str = "",
) -> dict[str, Setting]:
    """Trains (or resumes) and evaluates a sweep; or one of its models.

    With `sweep.index=N` that model becomes a run of its own in `models/N/`, from the sweep's newest
    checkpoint, and `mode` applies to it.

    Args:
      config: as from `configs/`, as nested plain mappings.
      workdir: where everything goes.
      mode: `'train'`, which ends with an evaluation; `'evaluate'`; for one model any mode of `run`.
      target: as for `run`; of one model alone.
      checkpoint: of one model, as for `run`.
      allow_change: as for `run`; in a sweep values that change no optimizer's state.
      repository: of one model, as for `run`.
      command: as for `run`.

    Returns:
      The content of `sweep.json`; for one model as `run`.

    Raises:
      ValueError, FileNotFoundError: an impossible setting, or missing data.
      ConfigChangedError: the directory belongs to another configuration.
      LockedError, NotFiniteError, StoppedError, WriteError: as from `run`; NotFiniteError if no
        model has a finite ELBO.
    """
    with workdir_locks():
        options: dict[str, Setting] = {"target": target, "checkpoint": checkpoint}
        options |= {"allow_change": allow_change, "repository": repository, "command": command}
        return _run_sweep(config, workdir, mode, options)


def _run_sweep(config: Config, workdir: Path, mode: str, options: PyTree) -> dict[str, Setting]:
    model = config["sweep"]["index"]
    if options["repository"] and model < 0:
        raise ValueError("--hub applies to one model of the sweep: choose it by sweep.index")
    if mode not in ("train", "evaluate") and model < 0:
        raise ValueError(
            f"--mode={mode} applies to one model of the sweep: choose it by "
            f"--config.sweep.index=N, N from 0 to {grid_of(config).size - 1}"
        )
    if options["target"] != OWN_DATA and model < 0:
        raise ValueError(
            "--data, --split and --output apply to one model of the sweep: choose it by "
            f"--config.sweep.index=N, N from 0 to {grid_of(config).size - 1}"
        )
    one = model >= 0
    experiment = prepare_sweep(config, workdir, "evaluate" if one else mode)
    if one:
        acquire_workdir(workdir, experiment.config, create=False)
        folder = take_out(experiment, model, create=mode == "train")
        single = config_of_model(config, experiment.grid, model)
        return dict(run(single, folder, mode, **options))
    if mode == "train":
        shapes = jax.eval_shape(lambda s: select(s, 0), experiment.sweep.state_shape.params)
        experiment.sweep.initial = start_from(experiment.config, workdir, shapes)
    acquire_workdir(
        workdir,
        experiment.config,
        create=mode == "train",
        allow_change=options["allow_change"],
    )
    keep_fingerprint(workdir, experiment.fingerprint, train=mode == "train")
    if mode == "evaluate":
        return evaluate_sweep(experiment, _chosen(newest_state(experiment), options["checkpoint"]))
    if jax.process_index() == 0:
        spec = spec_of(experiment.train_source, config["data"]["binarize"])
        write_json(workdir / "data.json", spec.to_json())
    with tracking(experiment.config, workdir) as trackers:
        outcome = train_sweep(experiment, trackers)
        check_stopped(outcome)
        found = evaluate_sweep(experiment, _chosen(outcome.state, options["checkpoint"]))
        step = steps_taken(outcome.state)
        write_results(workdir, step, _of_each_model(found), trackers)
    return found


def _of_each_model(found: dict[str, Setting]) -> dict[str, float]:
    """`MODEL/NAME` -> the final metrics of all models."""
    return {
        f"{model['model']}/{name}": value
        for model in found["models"]
        for name, value in model["metrics"].items()
        if value is not None
    }


def _chosen(state: TrainState, checkpoint: str | int) -> TrainState:
    """The state without the best parameters of each model if those of the latest step are chosen.

    Raises:
      ValueError: a step is chosen.
    """
    chosen = parse_checkpoint(checkpoint)
    if isinstance(chosen, int):
        raise ValueError(
            f"--checkpoint={chosen}: of all models of a sweep the best or the latest parameters "
            "are evaluated; a step can be chosen of one model, with --config.sweep.index=N"
        )
    return state._replace(best_params={}) if chosen == "latest" else state


def train_sweep(experiment: SweepExperiment, trackers: Trackers | None = None) -> Outcome:
    """Trains all models from the newest checkpoint on; evaluates them at every checkpoint.

    Args:
      experiment: the sweep.
      trackers: that get the records, of all models.
    """
    print(_heading(experiment), flush=True)
    validator = experiment.validator
    metrics_of = (validator or experiment.evaluator).evaluate
    examples = experiment.eval_examples
    return fit(
        experiment.sweep,
        experiment.settings,
        workdir=experiment.workdir,
        evaluate=lambda params, step: metrics_of(params, step, examples),
        split="validation" if validator else "eval",
        trackers=trackers,
    )


def _heading(experiment: SweepExperiment) -> str:
    sweep, grid, config = experiment.sweep, experiment.grid, experiment.config
    devices, workdir = experiment.mesh.size, experiment.workdir
    seeds = sorted(set(grid.seeds.tolist()))
    each = sum(leaf.size for leaf in jax.tree.leaves(sweep.state_shape.params)) // grid.size
    at_once = min(sweep.chunk, -(-grid.size // devices))
    rows = [
        ("models", f"{grid.size}, of {each:,} parameters each"),
        *((name, " ".join(f"{v:g}" for v in dict.fromkeys(values.tolist())))
          for name, values in grid.settings.items()),
        ("seeds", " ".join(map(str, seeds))),
        ("at once", f"{at_once} on each of {devices} devices"),
        *[("second stage", "of one model, with --config.sweep.index=N")
          for _ in range(has_second_stage(config))],
        ("working directory", str(workdir)),
    ]  # fmt: skip
    return table(f"Sweep of {config['family']} on {config['data']['source']}", rows)
