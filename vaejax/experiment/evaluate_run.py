"""The results of a run: metrics of a whole split, a model card, figures and a table."""

from typing import Any

import jax

from vaejax.core.files import make_folder, write_json
from vaejax.data import Source
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.metric import compute_metrics, in_summary
from vaejax.evaluation.two_stage import two_stage_metrics
from vaejax.experiment.experiment import Experiment, Trained
from vaejax.experiment.model_card import write_model_card
from vaejax.experiment.outcome import check_elbo
from vaejax.training.logging import read_records, table
from vaejax.training.train_step import TrainState, eval_params
from vaejax.visualization import plots
from vaejax.visualization.final_figures import draw_final_figures
from vaejax.visualization.learned_prior import draw_prior_samples
from vaejax.visualization.report import draw_figures

__all__ = ["evaluate", "evaluator_of"]

_OF_BOTH = ("kl", "elbo", "bits_per_dim")  # which of a prior alone say no more than its nll


def evaluator_of(experiment: Experiment, source: Source) -> Any:
    """The compiled evaluation of what a run trains, on a split; see `evaluation.evaluator`."""
    return evaluator(
        experiment.family,
        source,
        experiment.mesh,
        batch_size=experiment.settings.batch_size,
        seed=experiment.config["seed"],
        binarize=experiment.config["data"]["binarize"],
    )


def evaluate(
    experiment: Experiment,
    state: TrainState,
    rate: float | None = None,
    second: Trained | None = None,
    command: str = "",
) -> dict[str, float]:
    """Metrics of a whole split: `evaluation.json`, a model card, figures and a table.

    Without figures if `evaluate.figures` is false.

    Args:
      experiment: the run.
      state: of the training.
      rate: steps per second of the training, for the table.
      second: its second stage, if it has one; the metrics are those of both as one model.
      command: as for `run`.
    """
    config, folder, step = experiment.config, experiment.folder, int(state.step)
    model = second or Trained(experiment, state)
    context = model.experiment.context(model.state)
    result = _metrics(experiment, state, second) | compute_metrics(context)
    _ = context.local_params  # on every process
    result["skipped"] = int(state.total_skipped)
    figures = config["evaluate"]["figures"]
    if jax.process_index() == 0:
        make_folder(folder)
        of = _described(experiment)
        write_json(folder / "evaluation.json", {"step": step, **of, **result})
        if not of and folder == experiment.workdir:
            write_model_card(Trained(experiment, state), second, result, command)
        if figures:
            _draw(Trained(experiment, state), second, context, result)
    rows: list[tuple[str, Any]] = [(k, v) for k, v in sorted(result.items()) if in_summary(k)]
    if rate is not None:
        rows.append(("steps per second", rate))
    print(table(f"{config['family']} on {config['data']['source']}, step {step}", rows))
    if figures:
        print(f"Figures: {folder / 'figures'}")
    check_elbo(result)
    return result


def _described(experiment: Experiment) -> dict[str, str]:
    """What an evaluation is of, if not of the run's own data and evaluation split."""
    source, target = experiment.data, experiment.target
    own = not target.data and target.split == "eval"
    return {} if own else {"source": source.name, "split": source.split}


def _metrics(experiment: Experiment, state: TrainState, second: Trained | None) -> dict[str, float]:
    """The means of losses and metrics; with two stages, those of both as one model."""
    result = evaluator_of(experiment, experiment.source)(eval_params(state), int(state.step))
    prior, first_elbo = Trained(experiment, state), None
    if second:
        prior, first_elbo = second, result["elbo"]
        evaluate_prior = evaluator_of(second.experiment, second.experiment.source)
        of_prior = evaluate_prior(eval_params(second.state), int(second.state.step))
        result |= {f"prior/{k}": v for k, v in of_prior.items() if k not in _OF_BOTH}
    if first := prior.experiment.first:
        family, data, seed = prior.experiment.family, experiment.data, experiment.config["seed"]
        params = eval_params(prior.state)
        result |= two_stage_metrics(first, family, params, data, seed, first_elbo=first_elbo)
    return result


def _draw(
    run: Trained, second: Trained | None, context: EvaluationContext, metrics: dict[str, float]
) -> None:
    """All figures of a run, in its folder.

    Args:
      run: the run.
      second: its second stage, if it has one.
      context: the model of the data, of both stages.
      metrics: of the evaluation.
    """
    experiment, model = run.experiment, second or run
    folder, options = experiment.folder / "figures", model.experiment.sampling
    first = model.experiment.first
    draw_figures(
        experiment.context(run.state) if second else context,
        folder,
        records=experiment.workdir / "metrics.jsonl",
        samples=first is None,
        traversals=experiment.first is None,
        **options,
    )
    if first:
        draw_prior_samples(first, context, folder, **options)
    if second and (records := read_records(second.experiment.workdir / "metrics.jsonl")):
        plots.curves(folder / "losses_second_stage.png", records)
    draw_final_figures(folder, metrics)
