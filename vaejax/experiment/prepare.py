"""Everything a run needs, built and checked from its config before any training."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from vaejax.core.files import write_json
from vaejax.core.game import Family
from vaejax.core.sharding import make_mesh
from vaejax.core.types import Options
from vaejax.data import Source
from vaejax.data.preprocess import dataset_info, event_shape
from vaejax.data.spec import spec_of
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.generation.features import FeatureExtractor
from vaejax.evaluation.metric import check_metrics
from vaejax.evaluation.options import EvaluateOptions
from vaejax.experiment.build import (
    augmentation,
    build,
    evaluate_options,
    feature_extractor_of,
    load_split,
    sources,
    training_settings,
    validation_source,
    with_validation,
)
from vaejax.experiment.check_config import import_and_check
from vaejax.experiment.check_data import check_augmented, check_best_metric, check_support
from vaejax.experiment.check_effect import check_condition_dropout, check_image_settings
from vaejax.experiment.config_sections import without_codes
from vaejax.experiment.fingerprint import fingerprint, keep_fingerprint
from vaejax.experiment.resume import start_from
from vaejax.experiment.second_stage import (
    FOLDER,
    check_second_stage,
    first_stage_of,
    has_second_stage,
    second_stage_config,
)
from vaejax.experiment.workdir import (
    Config,
    acquire_workdir,
    check_is_ours,
    config_of_its_time,
)
from vaejax.export.programs import check_run
from vaejax.sweeps.grid import is_sweep
from vaejax.training import Settings, Trainer
from vaejax.training.lock import check_unlocked
from vaejax.training.train_step import TrainState, eval_params
from vaejax.training.two_stage import FirstStage, restore

__all__ = ["Experiment", "Trained", "prepare", "prepare_second_stage"]


class Trained(NamedTuple):
    """A run and a state of its training."""

    experiment: "Experiment"
    state: TrainState


class Experiment(NamedTuple):
    """A run, ready to be trained or evaluated.

    Attributes:
      config: as nested plain mappings.
      workdir: where everything goes.
      mesh: the devices.
      family: what is trained.
      trainer: its compiled training programs.
      settings: of the training.
      eval_examples: how many examples are evaluated at checkpoints.
      evaluate: the metrics after training.
      train_source: the training split.
      source: the evaluation split of what is trained: of the data, or of the first stage's latents.
      data: the evaluation split of the data.
      first: the first stage of a run that learns a prior for it; else None.
      features: the feature extractor for sample quality, if the config names one.
      validation: the split that is evaluated at checkpoints; None if there is none, or without
        training. Then `source` is.
    """

    config: Config
    workdir: Path
    mesh: Mesh
    family: Family
    trainer: Trainer
    settings: Settings
    eval_examples: int
    evaluate: EvaluateOptions
    train_source: Source
    source: Source
    data: Source
    first: FirstStage | None
    features: FeatureExtractor | None
    validation: Source | None = None

    @property
    def sampling(self) -> Options:
        """The settings of samples from the model of the data."""
        of_codes = self.config["family"] == "code_prior" or "second_stage" not in self.config
        return self.config["sample"] if of_codes else without_codes(self.config["sample"])

    @property
    def model_of_data(self) -> Family:
        """The trained family; of a run with a first stage, the two as one."""
        return self.first.joint_family(self.family) if self.first else self.family

    def family_of(self, config: Options) -> Family:
        """The family that another config describes, for the same data."""
        return build(config, event_shape(self.source), dataset_info(self.train_source))

    def context(self, state: TrainState, data: Source | None = None) -> EvaluationContext:
        """The model of the data, as trained, and a split.

        Args:
          state: of the training.
          data: the split, by default that of evaluations.
        """
        trained = eval_params(state)
        return EvaluationContext(
            self.model_of_data,
            self.first.joint_params(trained) if self.first else trained,
            self.data if data is None else data,
            self.mesh,
            step=int(state.step),
            batch_size=self.settings.batch_size,
            seed=self.config["seed"],
            binarize=self.config["data"]["binarize"],
            options=self.evaluate,
            features=self.features,
        )


def prepare(
    config: Options, workdir: Path, mode: str, allow_change: Sequence[str] = ()
) -> Experiment:
    """Builds and checks a run; afterwards the working directory belongs to it.

    Args:
      config: as from `configs/`, as nested plain mappings.
      workdir: where everything goes.
      mode: see `run`.
      allow_change: fields that may differ from those that the run was trained with until now.

    Raises:
      ValueError: an unknown or impossible setting.
      FileNotFoundError: data, a first stage or the run itself does not exist.
      ConfigChangedError: the directory belongs to another configuration.
    """
    import_and_check(config)
    if is_sweep(config):
        raise ValueError("the config describes a sweep: use vaejax.experiment.run_sweep.run_sweep")
    config = {k: v for k, v in config.items() if k != "sweep"}
    check_is_ours(workdir)
    config = config_of_its_time(workdir, config)
    if mode == "train":
        check_unlocked(workdir)
    if mode == "export":
        check_run(config)
    mesh, first = make_mesh(**config["mesh"]), None
    if config.get("first_stage"):
        config, first = restore(config, mesh, build=build, load_split=load_split)
    config = with_validation(config)
    data, source, train_source = sources(config, first, mode)
    validation = validation_source(config, first) if mode == "train" else None
    features = feature_extractor_of(config, data) if mode in ("train", "evaluate") else None
    splits = _Splits(data, source, train_source, validation)
    return _assemble(config, workdir, mode, mesh, first, splits, features, allow_change)


def prepare_second_stage(experiment: Experiment, state: TrainState, mode: str) -> Experiment:
    """Builds the second stage of a run, and encodes its data once.

    Args:
      experiment: the run, whose config names a second stage.
      state: of its training.
      mode: see `run`.

    Raises:
      ConfigChangedError: the second stage that is there has another configuration.
      DataChangedError: it was trained for other parameters of the first stage.
    """
    config = second_stage_config(experiment.config, int(state.step))
    mesh, data = experiment.mesh, experiment.data
    spec = spec_of(experiment.train_source, config["data"]["binarize"])
    params = eval_params(state)
    first = first_stage_of(experiment.config, experiment.family, params, spec, mesh)
    source, validation = first.latents(data), experiment.validation
    splits = _Splits(
        data,
        source,
        first.latents(experiment.train_source) if mode == "train" else source,
        None if validation is None else first.latents(validation),
    )
    folder = experiment.workdir / FOLDER
    config = config_of_its_time(folder, config)
    return _assemble(config, folder, mode, mesh, first, splits, experiment.features)


class _Splits(NamedTuple):
    """The splits of a run, as the attributes of `Experiment`."""

    data: Source
    source: Source
    train_source: Source
    validation: Source | None


def _assemble(
    config: Config,
    workdir: Path,
    mode: str,
    mesh: Mesh,
    first: FirstStage | None,
    splits: _Splits,
    features: FeatureExtractor | None,
    allow_change: Sequence[str] = (),
) -> Experiment:
    """The end of `prepare`, with the data loaded and the first stage opened."""
    data, source, train_source, validation = splits
    if first is None:
        check_image_settings(config["data"], data)
    family = build(config, event_shape(source), dataset_info(train_source))
    settings, eval_examples = training_settings(config)
    evaluate = evaluate_options(config)
    trainer = Trainer(
        family,
        train_source,
        settings,
        seed=config["seed"],
        binarize=config["data"]["binarize"],
        condition_dropout=config["data"]["condition_dropout"],
        augment=augmentation(config),
        mesh=mesh,
    )
    if mode == "train":
        selecting, best = validation or source, settings.best_metric
        shapes, binarize = trainer.state_shape.params, config["data"]["binarize"]
        check_best_metric(best, family, shapes, selecting, binarize)
    if mode == "train" and first is None:
        binarize = config["data"]["binarize"]
        params, augment = trainer.state_shape.params, augmentation(config)
        own = [split for split in (train_source, source, validation) if split is not None]
        check_support(family, params, own, binarize)
        check_augmented(augment, family, params, train_source, binarize)
        dropout = config["data"]["condition_dropout"]
        check_condition_dropout(dropout, family, params, train_source)
    experiment = Experiment(
        config, workdir, mesh, family, trainer, settings, eval_examples, evaluate, train_source,
        source, data, first, features, validation,
    )  # fmt: skip
    check_metrics(experiment.model_of_data, data, evaluate)
    if mode == "train" and has_second_stage(config):
        check_second_stage(config, workdir, family, trainer.state_shape.params, data, mesh)
    if mode == "train":
        trainer.initial = start_from(config, workdir, trainer.state_shape.params)
    acquire_workdir(workdir, config, create=mode == "train", allow_change=allow_change)
    of_data = fingerprint(
        config,
        None if first else train_source,
        data,
        first,
        None if first else validation,
        trainer.initial,
    )
    keep_fingerprint(workdir, of_data, train=mode == "train")
    if mode == "train" and jax.process_index() == 0:
        spec = spec_of(train_source, config["data"]["binarize"])
        write_json(workdir / "data.json", spec.to_json())
    return experiment
