"""The results of a sweep: metrics of all models, `sweep.json`, figures and a table."""

import jax
import numpy as np

from vaejax.core.files import make_folder, write_json
from vaejax.core.types import PyTree, Setting
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.metric import compute_metrics
from vaejax.experiment.outcome import check_elbo, check_steps_taken
from vaejax.experiment.prepare_sweep import SweepExperiment
from vaejax.sweeps.evaluate import grid_table, results
from vaejax.sweeps.one_model import one_model
from vaejax.training.train_step import TrainState, best_params, steps_taken
from vaejax.visualization import plots

__all__ = ["evaluate_sweep"]


def evaluate_sweep(experiment: SweepExperiment, state: TrainState) -> dict[str, Setting]:
    """Metrics of all models, `sweep.json`, figures and a table."""
    config, grid, folder = experiment.config, experiment.grid, experiment.workdir / "figures"
    params, step = best_params(state), steps_taken(state)
    if state.best_params:
        print("Parameters: of each model those of its best evaluation on the validation split")
    metrics = experiment.evaluator.evaluate(params, step)
    metrics["skipped"] = np.asarray(state.total_skipped)
    more = _final_metrics(experiment, params, step)
    shown = experiment.shown + [name for name in more if "/" not in name]
    failed = experiment.sweep.failed(state)
    found = results(grid, metrics | more, failed, step)
    if state.best_params:
        for model, best_step in zip(found["models"], state.best_step.tolist(), strict=True):
            model["step"] = best_step
    title = f"{config['family']} on {config['data']['source']}, {grid.size} models, step {step}"
    print(grid_table(f"{title}; mean ± {found['interval']}", found, shown))
    if jax.process_index() == 0:
        write_json(experiment.workdir / "sweep.json", found)
    if jax.process_index() == 0 and config["evaluate"]["figures"]:
        make_folder(folder)
        plots.sweep(folder / "sweep.png", found, shown)
        plots.rate_distortion_of_sweep(folder / "rate_distortion.png", found)
        print(f"Figures: {folder}")
    check_steps_taken(state)
    check_elbo({"elbo": float(np.nanmax([*metrics.get("elbo", [0.0]), -np.inf]))})
    return found


def _final_metrics(experiment: SweepExperiment, params: PyTree, step: int) -> dict[str, np.ndarray]:
    """The final metrics of each model, `[N]`; computed for one model after another."""
    grid, config = experiment.grid, experiment.config
    each = [
        compute_metrics(
            EvaluationContext(
                experiment.make(grid.of(i)),
                own,
                experiment.source,
                mesh,
                step=step,
                batch_size=experiment.settings.batch_size,
                seed=int(grid.seeds[i]),
                binarize=config["data"]["binarize"],
                options=experiment.evaluate,
                features=experiment.features,
            )
        )
        for i in range(grid.size)
        for own, mesh in [one_model(params, i, experiment.mesh)]
    ]
    return {name: np.array([one[name] for one in each]) for name in each[0]}
