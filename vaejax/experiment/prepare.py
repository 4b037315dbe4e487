"""Everything a run needs, built and checked from its config before any training."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from vaejax.core.files import write_json
from vaejax.core.sharding import mesh_of
from vaejax.core.sharding_rules import parse_rules
from vaejax.core.types import Options
from vaejax.data import Source
from vaejax.data.preprocess import dataset_info, event_shape
from vaejax.data.spec import spec_of
from vaejax.evaluation.generation.features import FeatureExtractor
from vaejax.evaluation.metric import check_metrics
from vaejax.experiment.build import (
    augmentation,
    build,
    evaluate_options,
    feature_extractor_of,
    load_split,
    training_settings,
    validation_source,
    with_validation,
)
from vaejax.experiment.check_data import check_best_metric
from vaejax.experiment.experiment import Experiment
from vaejax.experiment.fingerprint import fingerprint, keep_fingerprint
from vaejax.experiment.model_and_data import (
    ModelAndData,
    of_other_data,
    of_own_data,
    with_stored_validation,
)
from vaejax.experiment.prepare_checks import check_training_data, checked_config
from vaejax.experiment.resume import start_from
from vaejax.experiment.second_stage import (
    FOLDER,
    check_second_stage,
    first_stage_of,
    has_second_stage,
    second_stage_config,
)
from vaejax.experiment.target import OWN_DATA, Target
from vaejax.experiment.workdir import Config, acquire_workdir, config_of_its_time
from vaejax.training import Trainer
from vaejax.training.train_step import TrainState, eval_params
from vaejax.training.two_stage import FirstStage, restore

__all__ = ["prepare", "prepare_second_stage"]


def prepare(
    config: Options,
    workdir: Path,
    mode: str,
    target: Target = OWN_DATA,
    allow_change: Sequence[str] = (),
) -> Experiment:
    """Builds and checks a run; a working directory that is trained in then belongs to it.

    Args:
      config: as from `configs/`, as nested plain mappings.
      workdir: of the run.
      mode: see `run`.
      target: what the mode is applied to.
      allow_change: fields that may differ from those that the run was trained with until now.

    Raises:
      ValueError: an unknown or impossible setting.
      FileNotFoundError: data, a first stage or the run itself does not exist.
      ConfigChangedError: the directory belongs to another configuration.
    """
    config = checked_config(config, workdir, mode, target)
    mesh, first = mesh_of(config["mesh"]), None
    if config.get("first_stage"):
        config, first = restore(config, mesh, build=build, load_split=load_split)
        latents = first.latent_spec()  # refused, if at all, before any is encoded
        build(config, latents.event_shape, {**latents.dataset_info(), "layout": first.layout})
    if target.data:
        config = with_stored_validation(workdir, config)
        acquire_workdir(workdir, config, create=False)
        parts = of_other_data(config, first, workdir, target, mesh)
    else:
        config = with_validation(config)
        parts = of_own_data(config, first, mode, target.split)
    validation = validation_source(config, first) if mode == "train" else None
    needed = mode in ("train", "evaluate")
    features = feature_extractor_of(parts.config, parts.data) if needed else None
    stage = _Stage(config, workdir, target, mesh, first, features, validation)
    return _assemble(stage, parts, mode, allow_change)


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
    step, folder = int(state.step), experiment.workdir / FOLDER
    config = config_of_its_time(folder, second_stage_config(experiment.config, step))
    run_config = config_of_its_time(folder, second_stage_config(experiment.run_config, step))
    mesh, data, validation = experiment.mesh, experiment.data, experiment.validation
    spec = experiment.spec or spec_of(experiment.train_source, config["data"]["binarize"])
    params = eval_params(state)
    first = first_stage_of(experiment.config, experiment.family, params, spec, mesh)
    source = first.latents(data)
    train_source = first.latents(experiment.train_source) if mode == "train" else source
    family = build(config, event_shape(source), dataset_info(train_source))
    parts = ModelAndData(
        config, family, train_source, source, data, experiment.load, experiment.spec
    )
    latents = None if validation is None else first.latents(validation)
    features = experiment.features
    stage = _Stage(run_config, folder, experiment.target, mesh, first, features, latents)
    return _assemble(stage, parts, mode)


class _Stage(NamedTuple):
    """A run with its own data, as the attributes of `Experiment`."""

    config: Config
    workdir: Path
    target: Target
    mesh: Mesh
    first: FirstStage | None
    features: FeatureExtractor | None
    validation: Source | None


def _assemble(
    stage: _Stage, parts: ModelAndData, mode: str, allow_change: Sequence[str] = ()
) -> Experiment:
    """The end of `prepare`, with the data loaded and the first stage opened."""
    config, family, train_source, source, data, load, spec = parts
    run_config, workdir, target, mesh, first, features, validation = stage
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
        rules=parse_rules(config["mesh"].get("rules", "")),
    )
    params = trainer.state_shape.params
    if mode == "train":
        selecting, binarize = validation or source, config["data"]["binarize"]
        check_best_metric(settings.best_metric, family, params, selecting, binarize)
    if mode == "train" and first is None:
        own = [split for split in (train_source, source, validation) if split is not None]
        check_training_data(config, params, family, own)
    experiment = Experiment(
        config, run_config, workdir, target, mesh, family, trainer, settings, eval_examples,
        evaluate, train_source, source, data, load, spec, first, features, validation,
    )  # fmt: skip
    check_metrics(experiment.model_of_data, data, evaluate)
    if mode == "train" and has_second_stage(config):
        check_second_stage(config, workdir, family, params, data, mesh)
    if mode == "train":
        trainer.initial = start_from(config, workdir, params)
    _acquire(experiment, mode, allow_change)
    return experiment


def _acquire(experiment: Experiment, mode: str, allow_change: Sequence[str]) -> None:
    """Checks that the working directory belongs to the run, to train in it or to read it."""
    workdir, target, first = experiment.workdir, experiment.target, experiment.first
    config, training = experiment.run_config, mode == "train"
    acquire_workdir(workdir, config, create=training, allow_change=allow_change)
    own = experiment.data if target.data or target.split == "eval" else experiment.load("eval")
    train: Source | None = experiment.train_source
    validation = experiment.validation
    if first:  # the training and the validation split are made from its latents
        train = validation = None
    of_data = fingerprint(config, train, own, first, validation, experiment.trainer.initial)
    if target.data:
        of_data["data"] = {}  # not those of the run
    keep_fingerprint(workdir, of_data, train=training)
    if training and jax.process_index() == 0:
        spec = spec_of(experiment.train_source, config["data"]["binarize"])
        write_json(workdir / "data.json", spec.to_json())
