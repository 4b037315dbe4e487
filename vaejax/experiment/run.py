"""One run in its working directory: train, evaluate, sample, encode, export."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from vaejax.core.files import make_folder, replacing, write_json
from vaejax.core.sharding import on_one_device
from vaejax.data import Source
from vaejax.evaluation.conditional_samples import condition_batch
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.metric import compute_metrics, in_summary
from vaejax.evaluation.two_stage import two_stage_metrics
from vaejax.experiment.check_data import naming_the_column
from vaejax.experiment.encode import encode_splits
from vaejax.experiment.outcome import check_elbo, check_steps_taken, check_stopped
from vaejax.experiment.prepare import Experiment, prepare
from vaejax.experiment.workdir import Config
from vaejax.export.programs import export as export_programs
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

__all__ = ["encode", "evaluate", "export", "run", "sample", "train"]


def run(
    config: Config, workdir: Path, mode: str = "train", *, split: str = "eval"
) -> dict[str, float]:
    """Trains (or resumes), evaluates, samples, encodes or exports, in a working directory.

    Args:
      config: as from `configs/`, as nested plain mappings.
      workdir: where everything goes.
      mode: `'train'`, which ends with an evaluation; `'evaluate'`; `'sample'`; `'encode'`; or
        `'export'`, see `export.programs`.
      split: that is encoded: `'train'`, `'eval'` or `'all'`.

    Returns:
      The final metrics; `{}` after sampling, encoding or exporting.

    Raises:
      ValueError, FileNotFoundError: as from `prepare`; there is no checkpoint.
      ConfigChangedError: the directory belongs to another configuration.
      LockedError: another process trains in the directory.
      NotFiniteError: every step was skipped, or the ELBO is not finite.
      StoppedError: a signal ended the training, which saved its state.
      WriteError: a file cannot be written.
    """
    with workdir_locks():
        return _run(config, workdir, mode, split)


def _run(config: Config, workdir: Path, mode: str, split: str) -> dict[str, float]:
    experiment = prepare(config, workdir, mode)
    if mode == "train":
        outcome = train(experiment)
        check_stopped(outcome)
        check_steps_taken(outcome.state)
        return evaluate(experiment, outcome.state, rate=outcome.rate)
    state = restore_state(workdir / "checkpoints", experiment.trainer.state_shape)
    if mode == "evaluate":
        return evaluate(experiment, state)
    if mode == "encode":
        encode(experiment, state, split)
    else:
        (sample if mode == "sample" else export)(experiment, state)
    return {}


def train(experiment: Experiment) -> Outcome:
    """Trains from the newest checkpoint on; evaluates at every checkpoint.

    On the validation split if there is one, else on the evaluation split.
    """
    selecting = experiment.source if experiment.validation is None else experiment.validation
    metrics_of = _evaluator(experiment, selecting)
    print(_heading(experiment), flush=True)
    with naming_the_column(experiment.train_source):
        return fit(
            experiment.trainer,
            experiment.settings,
            workdir=experiment.workdir,
            evaluate=lambda params, step: metrics_of(params, step, experiment.eval_examples),
            split="eval" if experiment.validation is None else "validation",
        )


def _evaluator(experiment: Experiment, source: Source) -> Any:
    return evaluator(
        experiment.family,
        source,
        experiment.mesh,
        batch_size=experiment.settings.batch_size,
        seed=experiment.config["seed"],
        binarize=experiment.config["data"]["binarize"],
    )


def evaluate(
    experiment: Experiment, state: TrainState, rate: float | None = None
) -> dict[str, float]:
    """Metrics of the whole evaluation split, `evaluation.json`, figures and a table.

    Without figures if `evaluate.figures` is false.

    Args:
      experiment: the run.
      state: of the training.
      rate: steps per second of the training, for the table.
    """
    config, workdir, step = experiment.config, experiment.workdir, int(state.step)
    trained, context = eval_params(state), experiment.context(state)
    result = _evaluator(experiment, experiment.source)(trained, step)
    if experiment.first:
        first, data, seed = experiment.first, experiment.data, config["seed"]
        result |= two_stage_metrics(first, experiment.family, trained, data, seed)
    result |= compute_metrics(context)
    _ = context.local_params  # on every process
    result["skipped"] = int(state.total_skipped)
    figures = config["evaluate"]["figures"]
    if jax.process_index() == 0:
        write_json(workdir / "evaluation.json", {"step": step, **result})
        if figures:
            _draw(experiment, context, result)
    rows: list[tuple[str, Any]] = [(k, v) for k, v in sorted(result.items()) if in_summary(k)]
    if rate is not None:
        rows.append(("steps per second", rate))
    print(table(f"{config['family']} on {config['data']['source']}, step {step}", rows))
    if figures:
        print(f"Figures: {workdir / 'figures'}")
    check_elbo(result)
    return result


def _draw(experiment: Experiment, context: EvaluationContext, metrics: dict[str, float]) -> None:
    """All figures of a run."""
    folder, options = experiment.workdir / "figures", experiment.config["sample"]
    records, first = experiment.workdir / "metrics.jsonl", experiment.first
    draw_figures(context, folder, records=records, samples=first is None, **options)
    if first:
        draw_prior_samples(first, context, folder, **options)
    draw_final_figures(folder, metrics)


def sample(experiment: Experiment, state: TrainState) -> None:
    """Figures of samples alone."""
    folder, sampling = experiment.workdir / "figures", experiment.config["sample"]
    context, first = experiment.context(state), experiment.first
    _ = context.local_params  # on every process
    if jax.process_index() > 0:
        return
    make_folder(folder)
    path: Path | None
    if context.family.model.sequences:
        path = draw_predictions(context, folder, temperature=sampling["temperature"])
    elif first:
        draw_prior_samples(first, context, folder, **sampling)
        path = folder / "samples.png" if (folder / "samples.png").exists() else None
    else:
        path = draw_samples(
            context.family,
            context.local_params,
            folder,
            conditions=condition_batch(context, sampling["count"]),
            renderer=event_renderer(context.source),
            seed=context.seed,
            **sampling,
        )
    print(f"Samples: {path or f'events of {context.source.name} have no figure'}")


def encode(experiment: Experiment, state: TrainState, split: str) -> None:
    """The file `latents.npz` of a split, see `experiment.encode`."""
    arrays = encode_splits(experiment, state, split)
    if jax.process_index() == 0:
        path = experiment.workdir / "latents.npz"
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        print(f"Latents: {path}, with {', '.join(sorted(arrays))}")


def export(experiment: Experiment, state: TrainState) -> None:
    """The folder `export/`."""
    config, folder = experiment.config, experiment.workdir / "export"
    params = on_one_device(experiment.mesh, eval_params(state))
    if jax.process_index() > 0:
        return
    export_programs(
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
    train_size, held_out = experiment.train_source.size, experiment.source.size
    validation = experiment.validation
    selecting = "" if validation is None else f"{validation.size:,} to validate on, "
    rows = [
        ("examples", f"{train_size:,} to train on, {selecting}{held_out:,} to evaluate on"),
        ("parameters", f"{sum(leaf.size for leaf in leaves):,}"),
        ("devices", f"{mesh.size} × {device.device_kind} ({device.platform})"),
        ("working directory", str(experiment.workdir)),
    ]
    return table(f"{config['family']} on {config['data']['source']}", rows)
