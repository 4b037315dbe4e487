"""One run in its working directory: train, evaluate, sample, export."""

from pathlib import Path
from typing import Any

import jax

from vaejax.core.files import make_folder, write_json
from vaejax.core.game import Family, Params
from vaejax.core.sharding import on_one_device
from vaejax.evaluation.conditional_samples import condition_batch
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.final_metrics import final_metrics, in_summary
from vaejax.evaluation.two_stage import two_stage_metrics
from vaejax.experiment.outcome import check_elbo, check_steps_taken, check_stopped
from vaejax.experiment.prepare import Experiment, prepare
from vaejax.experiment.workdir import Config
from vaejax.export.programs import export
from vaejax.training import Outcome, fit
from vaejax.training.lock import workdir_locks
from vaejax.training.logging import table
from vaejax.training.restore import restore_state
from vaejax.training.train_step import TrainState, eval_params
from vaejax.visualization.event_renderers import event_renderer
from vaejax.visualization.final_figures import draw_final_figures
from vaejax.visualization.learned_prior import draw_prior_samples
from vaejax.visualization.report import draw_figures, draw_samples
from vaejax.visualization.sequence_prediction import draw_predictions

__all__ = ["run"]


def run(config: Config, workdir: Path, mode: str = "train") -> dict[str, float]:
    """Trains (or resumes), evaluates, samples, or exports, in a working directory.

    Args:
      config: as from `configs/`, as nested plain mappings.
      workdir: where everything goes.
      mode: `'train'`, which ends with an evaluation; `'evaluate'`; `'sample'`; or `'export'`, see
        `export.programs`.

    Returns:
      The final metrics; `{}` after sampling or exporting.

    Raises:
      ValueError, FileNotFoundError: as from `prepare`; there is no checkpoint.
      ConfigChangedError: the directory belongs to another configuration.
      LockedError: another process trains in the directory.
      NotFiniteError: every step was skipped, or the ELBO is not finite.
      StoppedError: a signal ended the training, which saved its state.
      WriteError: a file cannot be written.
    """
    with workdir_locks():
        return _run(config, workdir, mode)


def _run(config: Config, workdir: Path, mode: str) -> dict[str, float]:
    experiment = prepare(config, workdir, mode)
    if mode == "train":
        outcome = _train(experiment)
        check_stopped(outcome)
        check_steps_taken(outcome.state)
        return _evaluate(experiment, outcome.state, rate=outcome.rate)
    state = restore_state(workdir / "checkpoints", experiment.trainer.state_shape)
    if mode == "evaluate":
        return _evaluate(experiment, state)
    (_sample if mode == "sample" else _export)(experiment, state)
    return {}


def _train(experiment: Experiment) -> Outcome:
    evaluate = _evaluator(experiment)
    print(_heading(experiment), flush=True)
    return fit(
        experiment.trainer,
        experiment.settings,
        workdir=experiment.workdir,
        evaluate=lambda params, step: evaluate(params, step, experiment.eval_examples),
    )


def _evaluator(experiment: Experiment) -> Any:
    size = experiment.settings.batch_size
    return evaluator(
        experiment.family,
        experiment.source,
        experiment.mesh,
        batch_size=size,
        **experiment.options,
    )


def _evaluate(
    experiment: Experiment, state: TrainState, rate: float | None = None
) -> dict[str, float]:
    """Metrics of the whole evaluation split, `evaluation.json`, figures and a table."""
    config, workdir = experiment.config, experiment.workdir
    trained, step = eval_params(state), int(state.step)
    result = _evaluator(experiment)(trained, step)
    if experiment.first:
        result |= two_stage_metrics(
            experiment.first, experiment.family, trained, experiment.data, config["seed"]
        )
    family, params = experiment.model_of_data(trained)
    result |= final_metrics(
        family,
        params,
        experiment.data,
        experiment.mesh,
        config["evaluate"],
        step=step,
        batch_size=experiment.settings.batch_size,
        features=experiment.features,
        **experiment.options,
    )
    params = on_one_device(experiment.mesh, params)
    result["skipped"] = int(state.total_skipped)
    if jax.process_index() == 0:
        write_json(workdir / "evaluation.json", {"step": step, **result})
        _draw(experiment, family, params, result)
    rows: list[tuple[str, Any]] = [(k, v) for k, v in sorted(result.items()) if in_summary(k)]
    if rate is not None:
        rows.append(("steps per second", rate))
    print(table(f"{config['family']} on {config['data']['source']}, step {step}", rows))
    print(f"Figures: {workdir / 'figures'}")
    check_elbo(result)
    return result


def _draw(
    experiment: Experiment, family: Family, params: Params, metrics: dict[str, float]
) -> None:
    """All figures of a run.

    Args:
      experiment: the run.
      family: the model of the data.
      params: of it, on one device.
      metrics: of the evaluation.
    """
    config, folder = experiment.config, experiment.workdir / "figures"
    options = {"seed": config["seed"], **config["sample"]}
    draw_figures(
        family,
        params,
        experiment.data,
        folder,
        binarize=config["data"]["binarize"],
        records=experiment.workdir / "metrics.jsonl",
        samples=experiment.first is None,
        **options,
    )
    if experiment.first:
        draw_prior_samples(experiment.first, family, params, experiment.data, folder, **options)
    draw_final_figures(folder, metrics)


def _sample(experiment: Experiment, state: TrainState) -> None:
    """Figures of samples alone."""
    config, folder, data = experiment.config, experiment.workdir / "figures", experiment.data
    family, params = experiment.model_of_data(eval_params(state))
    params = on_one_device(experiment.mesh, params)
    if jax.process_index() > 0:
        return
    make_folder(folder)
    sampling = {"seed": config["seed"], **config["sample"]}
    if family.model.sequences:
        temperature = config["sample"]["temperature"]
        path = draw_predictions(
            family, params, data, folder, temperature=temperature, **experiment.options
        )
    elif experiment.first:
        draw_prior_samples(experiment.first, family, params, data, folder, **sampling)
        path = folder / "samples.png" if (folder / "samples.png").exists() else None
    else:
        count, renderer = sampling["count"], event_renderer(data)
        conditions = condition_batch(family, params, data, count, **experiment.options)
        path = draw_samples(
            family, params, folder, conditions=conditions, renderer=renderer, **sampling
        )
    print(f"Samples: {path or f'events of {data.name} have no figure'}")


def _export(experiment: Experiment, state: TrainState) -> None:
    """The folder `export/`."""
    config, folder = experiment.config, experiment.workdir / "export"
    params = on_one_device(experiment.mesh, eval_params(state))
    if jax.process_index() > 0:
        return
    export(
        experiment.family,
        params,
        experiment.source,
        folder,
        binarize=config["data"]["binarize"],
        family=config["family"],
        step=int(state.step),
    )
    print(f"Export: {folder}")


def _heading(experiment: Experiment) -> str:
    leaves = jax.tree.leaves(experiment.trainer.state_shape.params)
    mesh, config = experiment.mesh, experiment.config
    device = mesh.devices.flat[0]
    train, held_out = experiment.train_source.size, experiment.source.size
    rows = [
        ("examples", f"{train:,} to train on, {held_out:,} to evaluate on"),
        ("parameters", f"{sum(leaf.size for leaf in leaves):,}"),
        ("devices", f"{mesh.size} × {device.device_kind} ({device.platform})"),
        ("working directory", str(experiment.workdir)),
    ]
    return table(f"{config['family']} on {config['data']['source']}", rows)
