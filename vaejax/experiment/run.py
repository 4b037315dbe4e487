"""One run in its working directory: train, evaluate, sample, encode, export."""

from collections.abc import Sequence
from pathlib import Path

from vaejax.experiment.check_data import naming_the_column
from vaejax.experiment.checkpoint import choose_state, parse_checkpoint
from vaejax.experiment.evaluate_run import evaluate, evaluator_of
from vaejax.experiment.experiment import Experiment, Trained
from vaejax.experiment.heading import heading
from vaejax.experiment.outcome import check_steps_taken, check_stopped
from vaejax.experiment.outputs import encode, export
from vaejax.experiment.prepare import prepare, prepare_second_stage
from vaejax.experiment.resume import restore_after_change
from vaejax.experiment.sample import sample
from vaejax.experiment.second_stage import discard_outdated, has_second_stage, trained_for
from vaejax.experiment.target import OWN_DATA, Target
from vaejax.experiment.tracking import tracking
from vaejax.experiment.workdir import Config
from vaejax.export.hub import Repository, check_hub
from vaejax.training import Outcome, fit
from vaejax.training.lock import workdir_locks
from vaejax.training.logging import write_results
from vaejax.training.trackers import Trackers
from vaejax.training.train_step import TrainState

__all__ = ["encode", "evaluate", "export", "run", "sample", "train"]


def run(
    config: Config,
    workdir: Path,
    mode: str = "train",
    *,
    target: Target = OWN_DATA,
    checkpoint: str | int = "auto",
    allow_change: Sequence[str] = (),
    repository: Repository | None = None,
    command: str = "",
) -> dict[str, float]:
    """Trains (or resumes), evaluates, samples, encodes or exports, in a working directory.

    Args:
      config: as from `configs/`, as nested plain mappings.
      workdir: of the run.
      mode: `'train'`, which ends with an evaluation; `'evaluate'`; `'sample'`; `'encode'`; or
        `'export'`, see `export.model_files`.
      target: the data and the split that the mode is applied to, and where the result goes.
      checkpoint: of the model: `'best'`, `'latest'` or a step; `'auto'` for the best if there is a
        validation split, else the latest.
      allow_change: fields of the optimisation with whose new values a run goes on, as in
        `["players.vae.learning_rate"]`; recorded in `history.jsonl`.
      repository: of the Hub, to which an export is uploaded.
      command: that was given to a shell, for the model card; `''` from Python.

    Returns:
      The final metrics; `{}` after sampling, encoding or exporting.

    Raises:
      ValueError, FileNotFoundError: as from `prepare`; there is no checkpoint.
      ConfigChangedError: the directory belongs to another configuration.
      LockedError: another process trains in the directory.
      NotFiniteError: every step was skipped, or the ELBO is not finite.
      StoppedError: a signal ended the training, which saved its state.
      WriteError: a file cannot be written.
      HubError: the export cannot be uploaded.
    """
    if repository and mode != "export":
        raise ValueError(f"--hub={repository.name} applies to --mode=export")
    with workdir_locks():
        if allow_change and mode != "train":
            raise ValueError("--allow_change applies to --mode=train, where a run goes on")
        chosen = parse_checkpoint(checkpoint)
        if repository:
            check_hub(repository)
        experiment = prepare(config, workdir, mode, target, allow_change)
        return _run(experiment, mode, chosen, repository, command)


def _run(
    experiment: Experiment,
    mode: str,
    checkpoint: str | int,
    repository: Repository | None,
    command: str,
) -> dict[str, float]:
    if mode == "train":
        with tracking(experiment.config, experiment.workdir) as trackers:
            outcome = _complete(experiment, trackers)
            state = choose_state(experiment, checkpoint, newest=outcome.state)
            second = _train_second_stage(experiment, state, trackers)
            rate = outcome.rate
            result = evaluate(experiment, state, rate=rate, second=second, command=command)
            write_results(experiment.workdir, int(outcome.state.step), result, trackers)
        return result
    state = choose_state(experiment, checkpoint)
    if mode == "encode":
        encode(experiment, state)
        return {}
    second = _open_second_stage(experiment, state, mode)
    if mode == "evaluate":
        return evaluate(experiment, state, second=second, command=command)
    if mode == "export":
        export(experiment, state, second, repository)
    else:
        sample(*(second or (experiment, state)), folder=experiment.folder)
    return {}


def _complete(experiment: Experiment, trackers: Trackers) -> Outcome:
    """Trains to the last step."""
    outcome = train(experiment, trackers)
    check_stopped(outcome)
    check_steps_taken(outcome.state)
    return outcome


def _train_second_stage(
    experiment: Experiment, state: TrainState, trackers: Trackers
) -> Trained | None:
    """Trains the second stage that a config names, or resumes it."""
    if not has_second_stage(experiment.config):
        return None
    discard_outdated(experiment.workdir, int(state.step))
    second = prepare_second_stage(experiment, state, "train")
    newest = _complete(second, trackers.with_prefix("second_stage/")).state
    return Trained(second, choose_state(second, "auto", newest=newest))


def _open_second_stage(experiment: Experiment, state: TrainState, mode: str) -> Trained | None:
    """The second stage that a config names, if it was trained for this state of the first."""
    workdir = experiment.workdir
    if not has_second_stage(experiment.config) or trained_for(workdir) != int(state.step):
        return None
    second = prepare_second_stage(experiment, state, mode)
    return Trained(second, choose_state(second, "auto"))


def train(experiment: Experiment, trackers: Trackers | None = None) -> Outcome:
    """Trains from the newest checkpoint on; evaluates at every checkpoint.

    On the validation split if there is one, else on the evaluation split.

    Args:
      experiment: the run.
      trackers: that get the records.
    """
    selecting = experiment.source if experiment.validation is None else experiment.validation
    metrics_of = evaluator_of(experiment, selecting)
    print(heading(experiment), flush=True)
    with naming_the_column(experiment.train_source):
        return fit(
            experiment.trainer,
            experiment.settings,
            workdir=experiment.workdir,
            evaluate=lambda params, step: metrics_of(params, step, experiment.eval_examples),
            split="eval" if experiment.validation is None else "validation",
            start=lambda: restore_after_change(
                experiment.trainer, experiment.workdir, experiment.family_of
            ),
            trackers=trackers,
        )
