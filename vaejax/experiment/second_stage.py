"""The second stage of a run: a prior that the same command trains after the model.

It is a run of its own in the folder `second_stage/` of the working directory. Its `first_stage` is
`".."`, the run around it, so that both can be moved together.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from vaejax.core.files import read_json, write_errors
from vaejax.core.game import Family, Params
from vaejax.core.paths import remove_tree
from vaejax.core.sharding import check_batch
from vaejax.core.types import PyTree
from vaejax.data import Source
from vaejax.data.augment import Augmentation
from vaejax.data.spec import DataSpec, spec_of
from vaejax.evaluation.metric import check_metrics
from vaejax.experiment.build import build, evaluate_options, training_settings
from vaejax.experiment.declared_fields import second_stage_defaults, without_codes
from vaejax.experiment.workdir import (
    Config,
    ConfigChangedError,
    changed_fields,
    check_is_ours,
    config_of_its_time,
    listed_changes,
)
from vaejax.quantizers.token_layout import layout_of_model
from vaejax.training.checkpoint_index import checkpoint_steps
from vaejax.training.train_step import init_state
from vaejax.training.two_stage import FirstStage

__all__ = [
    "FOLDER",
    "PARENT",
    "check_second_stage",
    "discard_outdated",
    "first_stage_of",
    "has_second_stage",
    "second_stage_config",
    "trained_for",
]

FOLDER = "second_stage"
_SHARED = ("seed", "imports", "mesh", "evaluate", "log")  # fields that both stages have alike
PARENT = ".."  # `first_stage` of a second stage in its first stage's working directory


def has_second_stage(config: Config) -> bool:
    """Whether a config names a second stage."""
    return bool(config.get("second_stage", {}).get("family"))


def second_stage_config(config: Config, step: int) -> Config:
    """The config of a run's second stage, as that of a run with a first stage.

    Args:
      config: of the run.
      step: of the first stage's checkpoint.
    """
    defaults = second_stage_defaults()
    section = {**defaults, **config["second_stage"]}
    of_codes = section["family"] == "code_prior"
    return {
        **{name: config[name] for name in _SHARED if name in config},
        "family": section["family"],
        "data": {
            **config["data"],
            "condition_dropout": section["condition_dropout"],
            "augment": dataclasses.asdict(Augmentation()),  # none, of latents
        },
        "model": section["model"],
        "players": section["players"],
        "train": {**defaults["train"], **section["train"]},
        "sample": config["sample"] if of_codes else without_codes(config["sample"]),
        **dict.fromkeys(("init_from", "init_groups", "freeze_groups"), ""),
        "first_stage": PARENT,
        "first_stage_step": step,
    }


def first_stage_of(
    config: Config, family: Family, params: Params, spec: DataSpec, mesh: Mesh
) -> FirstStage:
    """A run as the first stage of a prior.

    Args:
      config: of the run.
      family: of the run.
      params: of its model, or their shapes.
      spec: the form of its data.
      mesh: the devices.

    Raises:
      ValueError: a prior cannot be learned for such a model.
    """
    size = config["train"]["batch_size"]
    batch: PyTree = spec.batch(size)
    layout = layout_of_model("the first stage", family, params, batch)
    return FirstStage(family, params, layout, mesh, size, config["data"]["binarize"], spec)


def trained_for(workdir: Path) -> int | None:
    """The step of the first stage that the second stage of a run was trained for.

    Args:
      workdir: of the run.

    Returns:
      The step; None if there is no second stage with a checkpoint.
    """
    folder = workdir / FOLDER
    return _first_stage_step(folder) if checkpoint_steps(folder / "checkpoints") else None


def _first_stage_step(folder: Path) -> int | None:
    path = folder / "config.json"
    return read_json(path).get("first_stage_step") if path.exists() else None


def discard_outdated(workdir: Path, step: int) -> None:
    """Deletes the second stage of a run if it was trained for an earlier step of the first.

    Args:
      workdir: of the run, which this process trains in.
      step: of the first stage.
    """
    folder = workdir / FOLDER
    former = _first_stage_step(folder)
    if former is not None and former != step:
        check_is_ours(folder)
        if jax.process_index() == 0:
            print(f"The first stage went on from step {former}: the second is trained again.")
            with write_errors(folder):
                remove_tree(folder)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("discarded the second stage")


def check_second_stage(
    config: Config, workdir: Path, family: Family, params: Params, data: Source, mesh: Mesh
) -> None:
    """Checks a run's second stage before the first is trained; computes nothing.

    Args:
      config: of the run.
      workdir: of the run.
      family: of the run.
      params: shapes of its parameters.
      data: the evaluation split.
      mesh: the devices.

    Raises:
      ValueError: a setting is unknown or impossible.
      ConfigChangedError: the second stage that is there has another configuration.
    """
    newest = max(checkpoint_steps(workdir / "checkpoints"), default=0)
    nested = second_stage_config(config, max(newest, config["train"]["steps"]))
    with _naming_the_section():
        spec = spec_of(data, config["data"]["binarize"])
        first = first_stage_of(config, family, params, spec, mesh)
        latents = first.latent_spec()
        info = {**latents.dataset_info(), "layout": first.layout}
        prior = build(nested, latents.event_shape, info)
        settings, _ = training_settings(nested)
        check_batch(mesh, settings.batch_size)
        batch = latents.batch(settings.batch_size)
        jax.eval_shape(lambda b: init_state(prior, config["seed"], b, settings.ema_decay), batch)
        check_metrics(first.joint_family(prior), data, evaluate_options(nested))
    _check_unchanged(workdir, nested)


@contextlib.contextmanager
def _naming_the_section() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"second_stage: {error}") from error


def _check_unchanged(workdir: Path, nested: Config) -> None:
    """Refuses another configuration of a second stage that would be trained on."""
    folder = workdir / FOLDER
    if trained_for(workdir) != nested["first_stage_step"]:
        return  # there is none, or it is trained again, since the first stage went on
    stored = read_json(folder / "config.json")
    if changed := listed_changes(changed_fields(stored, config_of_its_time(folder, nested))):
        raise ConfigChangedError(
            f"the second stage of {workdir} was trained with another configuration:\n{changed}\n"
            f"Delete {folder} to train it again, choose another --workdir, or give the same "
            "configuration to resume"
        )
