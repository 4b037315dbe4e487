"""A run, ready to be trained or evaluated."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jax.sharding import Mesh

from vaejax.core.game import Family
from vaejax.core.types import Options
from vaejax.data import Source
from vaejax.data.preprocess import dataset_info, event_shape
from vaejax.data.spec import DataSpec
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.generation.features import FeatureExtractor
from vaejax.evaluation.options import EvaluateOptions
from vaejax.experiment.build import build
from vaejax.experiment.declared_fields import without_codes
from vaejax.experiment.target import Target
from vaejax.experiment.workdir import Config
from vaejax.training import Settings, Trainer
from vaejax.training.train_step import TrainState, eval_params
from vaejax.training.two_stage import FirstStage

__all__ = ["Experiment", "Trained"]


class Trained(NamedTuple):
    """A run and a state of its training."""

    experiment: "Experiment"
    state: TrainState


class Experiment(NamedTuple):
    """A run, ready to be trained or evaluated.

    Attributes:
      config: as nested plain mappings, with the data that the run is applied to.
      run_config: with the data of the run.
      workdir: of the run.
      target: what the mode is applied to.
      mesh: the devices.
      family: what is trained.
      trainer: its compiled training programs.
      settings: of the training.
      eval_examples: how many examples are evaluated at checkpoints.
      evaluate: the metrics after training.
      train_source: the training split.
      source: the evaluation split of what is trained: of the data, or of the first stage's latents.
      data: the evaluation split of the data, or the split that the target names.
      load: a split of the data by its name, see `ModelAndData`.
      spec: the form of the run's data, if it is applied to other data; else None.
      first: the first stage of a run that learns a prior for it; else None.
      features: the feature extractor for sample quality, if the config names one.
      validation: the split that is evaluated at checkpoints; None if there is none, or without
        training. Then `source` is.
    """

    config: Config
    run_config: Config
    workdir: Path
    target: Target
    mesh: Mesh
    family: Family
    trainer: Trainer
    settings: Settings
    eval_examples: int
    evaluate: EvaluateOptions
    train_source: Source
    source: Source
    data: Source
    load: Callable[..., Source]
    spec: DataSpec | None
    first: FirstStage | None
    features: FeatureExtractor | None
    validation: Source | None = None

    @property
    def folder(self) -> Path:
        """Where results go."""
        return self.target.folder(self.workdir)

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
