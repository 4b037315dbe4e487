"""The family of a run and the splits that it is trained on or applied to."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from vaejax.core.dependencies import fields_read
from vaejax.core.game import Batch, Family, init
from vaejax.core.rng import key_shape
from vaejax.core.types import PyTree
from vaejax.data import Source
from vaejax.data.preprocess import dataset_info, event_shape
from vaejax.data.spec import DataSpec
from vaejax.data.validation import AUTO, NONE
from vaejax.experiment.build import build, load_split, sources
from vaejax.experiment.check_effect import check_image_settings
from vaejax.experiment.other_data import (
    can_do_without_condition,
    compatible,
    fields_of_model,
    undivided,
    with_source,
)
from vaejax.experiment.second_stage import first_stage_of, has_second_stage, second_stage_config
from vaejax.experiment.target import Target
from vaejax.experiment.workdir import Config
from vaejax.training.restore import read_config, read_spec
from vaejax.training.two_stage import FirstStage

__all__ = ["ModelAndData", "of_other_data", "of_own_data", "with_stored_validation"]


class ModelAndData(NamedTuple):
    """A family and its data.

    Attributes:
      config: of the run, with the data that it is applied to.
      family: what is trained.
      train_source: the training split; of a run that is applied to other data, one example of
        zeros, of which only the form is used.
      source: the split that the family is applied to: of data, or of the first stage's latents.
      data: the same split of the data.
      load: `(split, whole=False) -> Source` of the data; with `whole` every split of data without
        splits of their own is all of them.
      spec: the form of the run's data, if it is applied to other data; else None.
    """

    config: Config
    family: Family
    train_source: Source
    source: Source
    data: Source
    load: Callable[..., Source]
    spec: DataSpec | None = None


def with_stored_validation(workdir: Path, config: Config) -> Config:
    """The config of a trained run with its validation split by name, without a look at its data.

    Raises:
      FileNotFoundError: there is no run.
    """
    stored, data = read_config(workdir)["data"], config["data"]
    if data.get("validation", AUTO) != AUTO:
        return config
    return {**config, "data": {**data, "validation": stored.get("validation", NONE)}}


def of_own_data(config: Config, first: FirstStage | None, mode: str, split: str) -> ModelAndData:
    """The data that the config names.

    Args:
      config: of the run.
      first: the first stage of a run that learns a prior of its latents, else None.
      mode: see `run`.
      split: that the mode is applied to.

    Raises:
      FileNotFoundError, ValueError: there are no such data, or a setting does not fit them.
    """

    def load(name: str, *, whole: bool = False) -> Source:
        return load_split(undivided(config) if whole else config, name)

    data, source, train = sources(config, first, mode)
    if first is None:
        check_image_settings(config["data"], data)
    family = build(config, event_shape(source), dataset_info(train))
    if split in ("train", "validation") and mode != "encode":
        data = load(split)
        source = first.latents(data) if first else data
    return ModelAndData(config, family, train, source, data, load)


def of_other_data(
    config: Config, first: FirstStage | None, workdir: Path, target: Target, mesh: Mesh
) -> ModelAndData:
    """Other data than the run was trained on, which are not read.

    Args:
      config: of the run.
      first: its first stage, or None.
      workdir: of the run.
      target: the other data and their split.
      mesh: the devices.

    Raises:
      FileNotFoundError: there is no run, or no such data.
      ValueError: the data do not fit the model.
    """
    if first is not None:
        assert first.spec is not None
        spec, latents = first.spec, first.latent_spec()
        info = {**latents.dataset_info(), "layout": first.layout}
        family = build(config, latents.event_shape, info)
        reads = fields_of_model(first.family, first.params, spec)
        reads |= _condition_of_prior(config, first)
        explained, params = first.family, first.params
        template = latents.source(_zeros(latents.batch(1)))
    else:
        spec = read_spec(workdir, config, load_split)
        family = build(config, spec.event_shape, spec.dataset_info())
        size = config["train"]["batch_size"]
        params = jax.eval_shape(partial(init, family), key_shape(), spec.batch(size))
        reads = fields_of_model(family, params, spec)
        if has_second_stage(config):
            nested = first_stage_of(config, family, params, spec, mesh)
            reads |= _condition_of_prior(second_stage_config(config, 0), nested)
        explained = family
        template = spec.source(_zeros(spec.batch(1)))
    trained_on, other = config["data"]["source"], with_source(config, target.data, spec)

    def load(name: str, *, whole: bool = False) -> Source:
        return compatible(
            load_split(undivided(other) if whole else other, name, spec.table_form()),
            spec,
            explained,
            params,
            trained_on=trained_on,
            reads=reads,
            binarize=config["data"]["binarize"],
            optional=can_do_without_condition(config, family),
        )

    data = load("eval" if target.split == "all" else target.split)
    source = first.latents(data) if first else data
    return ModelAndData(other, family, template, source, data, load, spec)


def _zeros(batch: PyTree) -> dict[str, np.ndarray]:
    return {name: np.zeros(a.shape, a.dtype) for name, a in batch.items()}


def _condition_of_prior(config: Config, first: FirstStage) -> set[str]:
    """The fields of the data that a prior of latents reads: `label`, or none."""
    latents = first.latent_spec()
    info = {**latents.dataset_info(), "layout": first.layout}
    model = build(config, latents.event_shape, info).model

    def condition(batch: Batch) -> PyTree:
        params = model.init(jax.random.key(0), batch)
        return model.forward(params, batch, jax.random.key(0), None).condition

    return set(fields_read(condition, latents.batch(1))) & {"label"}
