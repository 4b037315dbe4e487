"""Everything a sweep needs, built and checked from its config before any training."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from vaejax.core.game import Family
from vaejax.core.registry import near_names
from vaejax.core.sharding import mesh_of
from vaejax.core.types import Options
from vaejax.data import Source
from vaejax.data.preprocess import dataset_info, event_shape
from vaejax.evaluation.generation.features import FeatureExtractor
from vaejax.evaluation.metric import check_metrics
from vaejax.evaluation.options import EvaluateOptions
from vaejax.experiment.build import (
    augmentation,
    build,
    evaluate_options,
    feature_extractor_of,
    has_validation,
    load_split,
    sources,
    training_settings,
    validation_source,
    with_validation,
)
from vaejax.experiment.check_config import import_and_check
from vaejax.experiment.check_effect import check_image_settings
from vaejax.experiment.fingerprint import fingerprint
from vaejax.experiment.prepare_checks import check_training_data, checked_in_workdir
from vaejax.experiment.workdir import Config
from vaejax.sweeps import Sweep, select
from vaejax.sweeps.evaluate import SweepEvaluator, select_metrics, sweep_evaluator
from vaejax.sweeps.grid import Grid, config_of_model, grid_of, substitute
from vaejax.sweeps.sweep import Make
from vaejax.training import Settings
from vaejax.training.two_stage import restore

__all__ = ["SweepExperiment", "prepare_sweep"]


class SweepExperiment(NamedTuple):
    """A sweep, ready to be trained or evaluated.

    Attributes:
      config: as nested plain mappings, without `sweep.index`.
      workdir: where everything goes.
      mesh: the devices.
      grid: the models.
      make: values of the swept fields -> family.
      sweep: the compiled training programs.
      settings: of the training.
      eval_examples: how many examples are evaluated at checkpoints.
      evaluate: the metrics after training.
      train_source: the training split.
      source: the evaluation split.
      evaluator: of all models at once.
      shown: the metrics of the table and the figure.
      features: the feature extractor for sample quality, if the config names one.
      fingerprint: of the data and the first stage.
      validator: the evaluation of the validation split, at checkpoints; None if there is none, or
        without training. Then `evaluator` is used.
    """

    config: Config
    workdir: Path
    mesh: Mesh
    grid: Grid
    make: Make
    sweep: Sweep
    settings: Settings
    eval_examples: int
    evaluate: EvaluateOptions
    train_source: Source
    source: Source
    evaluator: SweepEvaluator
    shown: list[str]
    features: FeatureExtractor | None
    fingerprint: Options
    validator: SweepEvaluator | None = None


def _without_index(config: Config, grid: Grid) -> Config:
    """The config without `sweep.index`, after a check that there is such a model."""
    if config["sweep"]["index"] >= 0:
        config_of_model(config, grid, config["sweep"]["index"])
    return {**config, "sweep": {k: v for k, v in config["sweep"].items() if k != "index"}}


def prepare_sweep(config: Config, workdir: Path, mode: str) -> SweepExperiment:
    """Builds and checks a sweep.

    Args:
      config: as from `configs/`, as nested plain mappings.
      workdir: where everything goes.
      mode: see `run_sweep`.

    Raises:
      ValueError: an unknown or impossible setting.
      FileNotFoundError: data or a first stage does not exist.
    """
    import_and_check(config)
    config = checked_in_workdir(config, workdir, mode)
    mesh, first = mesh_of(config["mesh"]), None
    if config.get("first_stage"):
        config, first = restore(config, mesh, build=build, load_split=load_split)
    grid = grid_of(config)
    config = with_validation(_without_index(config, grid))
    data, source, train_source = sources(config, first, mode)
    validation = validation_source(config, first) if mode == "train" else None
    if first is None:
        check_image_settings(config["data"], data)
    shape, known = event_shape(source), dataset_info(train_source)

    def make(values: Options) -> Family:
        return build(substitute(config, values), shape, known)

    families = [make(values) for values, _ in grid.points()]  # errors come before any training
    settings, eval_examples = training_settings(config)
    binarize, evaluate = config["data"]["binarize"], evaluate_options(config)
    sweep = Sweep(
        make,
        grid,
        train_source,
        settings,
        binarize=binarize,
        condition_dropout=config["data"]["condition_dropout"],
        augment=augmentation(config),
        mesh=mesh,
        chunk=config["sweep"]["chunk"],
        keep_best=has_validation(config),
    )
    if mode == "train" and first is None:
        one = jax.eval_shape(lambda s: select(s, 0), sweep.state_shape.params)
        splits = [split for split in (train_source, source, validation) if split is not None]
        check_training_data(config, one, families[0], splits)
    check_metrics(families[0], source, evaluate)
    evaluator_of = functools.partial(
        sweep_evaluator,
        make,
        grid,
        sweep.state_shape.params,
        mesh=mesh,
        batch_size=settings.batch_size,
        chunk=sweep.chunk,
        binarize=binarize,
    )
    evaluator = evaluator_of(source)
    best, names = settings.best_metric, evaluator.names
    if best != "elbo" and best not in names:
        raise ValueError(f"train.best_metric: evaluations have no {near_names(best, names)}")
    shown = select_metrics(config["sweep"]["metrics"], evaluator.names)
    return SweepExperiment(
        config, workdir, mesh, grid, make, sweep, settings, eval_examples, evaluate, train_source,
        source, evaluator, shown, feature_extractor_of(config, source),
        fingerprint(
            config, None if first else train_source, data, first, None if first else validation
        ),
        None if validation is None else evaluator_of(validation),
    )  # fmt: skip
