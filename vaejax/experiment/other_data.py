"""Other data than a run was trained on: loaded as its own, and checked against its model."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.dependencies import fields_read
from vaejax.core.events import EVENTS
from vaejax.core.game import Batch, Family, Params, losses_and_trace
from vaejax.core.rng import key_shape
from vaejax.core.types import Options, PyTree, Setting
from vaejax.data import Source
from vaejax.data.load import TABLE_KINDS
from vaejax.data.preprocess import preparation
from vaejax.data.spec import DataSpec, pixel_scale_of
from vaejax.data.validation import AUTO, NONE, fraction_of
from vaejax.experiment.build import OF_TABLES, has_validation, with_validation
from vaejax.experiment.check_data import check_support

__all__ = [
    "can_do_without_condition",
    "compatible",
    "fields_of_model",
    "splits_of",
    "undivided",
    "with_source",
]

_EXAMPLES = 8  # of an abstract batch: losses between examples need several


def with_source(config: Options, source: str, spec: DataSpec) -> dict[str, Setting]:
    """The config of a run with another data source, which is loaded as the run's own is.

    Data without splits of their own are not divided: nothing of them was trained on, so every split
    is all of them. If the source is the run's own, the splits are those of the run.

    Args:
      config: of the run.
      source: a source string.
      spec: the form of the run's data, to whose length shorter sequences are padded.
    """
    if source == config["data"]["source"]:
        return dict(config)
    changes: dict[str, Setting] = {"source": source, "holdout": 0.0, "validation": AUTO}
    if source.partition(":")[0] not in TABLE_KINDS:
        changes |= dict.fromkeys(OF_TABLES, "")
    if "mask" in spec.fields and spec.event in ("sequence", "signal", "tokens"):
        changes["length"] = spec.event_shape[0]
    return {**config, "data": {**config["data"], **changes}}


def undivided(config: Options) -> dict[str, Setting]:
    """The config with nothing held out of data, or of a split, that they do not hold out."""
    data = {**config["data"], "holdout": 0.0}
    if fraction_of(data.get("validation", NONE)) is not None:
        data["validation"] = NONE
    return {**config, "data": data}


def splits_of(config: Options) -> list[str]:
    """The splits of data in their order, without what is split off by a fraction."""
    whole = with_validation(undivided(config))
    return ["train", *(["validation"] if has_validation(whole) else []), "eval"]


def fields_of_model(family: Family, params: Params, spec: DataSpec) -> set[str]:
    """The fields of a batch that a model and its losses read; computes nothing.

    Args:
      family: of the run.
      params: of its model, or their shapes.
      spec: the form of the run's data.
    """
    forward = losses_and_trace(family, training=False)

    def outputs(batch: Batch) -> PyTree:
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), params)
        losses, trace = forward(zeros, batch, jax.random.key(0), jnp.int32(0))
        return losses, trace.x, trace.condition

    return set(fields_read(outputs, spec.batch(_EXAMPLES)))


def compatible(
    source: Source,
    spec: DataSpec,
    family: Family,
    params: Params,
    *,
    trained_on: str,
    reads: set[str],
    binarize: str = "none",
    optional: bool = False,
) -> Source:
    """Other data in the form of a run's own: the same pixel scale, classes, tokens and names.

    Args:
      source: a split of the other data.
      spec: the form of the run's data.
      family: of the run.
      params: of its model, or their shapes.
      trained_on: name of the run's data, for errors.
      reads: from `fields_of_model`.
      binarize: as in training.
      optional: whether the model was also trained on examples without their label or condition.

    Raises:
      ValueError: another kind or shape of event, another range of pixels, other columns, classes or
        tokens, values outside of the likelihood's support, or no field that the model reads.
    """
    names, source = (
        f"the run was trained on {trained_on}",
        _completed(source, spec, reads, optional),
    )
    rows = source.take(np.zeros(1, np.int32))
    batch = jax.eval_shape(preparation(source, binarize), rows, key_shape())
    _check_event(source, spec, names, batch)
    if "mask" in batch and "mask" not in spec.fields:
        raise ValueError(
            f"{names}, which has no missing values or padding, but {source.name} has: fill "
            "them in, for example by Run.impute"
        )
    _check_fields(source, spec, names, batch, reads)
    _check_names(source, spec, names, reads)
    if "label" in reads and (source.num_classes or 0) > spec.classes:
        raise ValueError(
            f"{names} with {spec.classes} classes, but {source.name} has {source.num_classes}: its "
            "model needs examples of its own classes"
        )
    changes: dict[str, Setting] = {"num_tokens": spec.tokens or None}
    if "label" in reads:
        changes |= {"num_classes": spec.classes, "class_names": spec.names.get("class_names")}
    for name in ("column_names", "token_names"):
        changes[name] = getattr(source, name) or spec.names.get(name)
    result = dataclasses.replace(_with_pixel_scale(source, spec, names), **changes)
    if spec.event in reads:
        check_support(family, params, (result,), binarize, trained_on=trained_on)
    return result


def _completed(source: Source, spec: DataSpec, reads: set[str], optional: bool) -> Source:
    """The source with the fields that mean "nothing is missing" and "no condition".

    A mask that is True, if the run's data had one; and, if the model can do without, the label −1
    or a condition of zeros.
    """
    fields: PyTree = jax.eval_shape(source.decode, source.take(np.zeros(1, np.int32)))
    values: dict[str, int] = {"mask": True} if "mask" in spec.fields else {}
    if optional:
        values |= {k: v for k, v in {"label": -1, "condition": 0}.items() if k in reads}
    absent = {name: value for name, value in values.items() if name not in fields}
    if "hidden" in fields:
        absent.pop("condition", None)  # which is made from it
    if not absent:
        return source

    def decode(rows: PyTree) -> PyTree:
        batch = source.decode(rows)
        n = len(next(iter(batch.values())))
        for name, value in absent.items():
            shape, dtype = spec.fields[name]
            batch = {**batch, name: jnp.full((n, *shape), value, dtype)}
        return batch

    return dataclasses.replace(source, decode=decode)


def can_do_without_condition(config: Options, family: Family) -> bool:
    """Whether a model was also trained on examples without their label or condition."""
    model = family.model
    semi_supervised = model.classify is not None and model.features is None
    return config["data"]["condition_dropout"] > 0 or semi_supervised


def _described(event: str, shape: Sequence[int]) -> str:
    return f"{event.removesuffix('s')}s of shape {list(shape)}"


def _check_event(source: Source, spec: DataSpec, names: str, batch: PyTree) -> None:
    event = next(name for name in EVENTS if name in batch)
    shape = batch[event].shape[1:]
    if (event, shape) != (spec.event, spec.event_shape):
        raise ValueError(
            f"{names}, {_described(spec.event, spec.event_shape)}, but {source.name} holds "
            f"{_described(event, shape)}: give data of the same form"
        )


def _check_fields(
    source: Source, spec: DataSpec, names: str, batch: PyTree, reads: set[str]
) -> None:
    """Fields beside the event."""
    for name in sorted(reads - {spec.event}):
        if name not in batch:
            raise ValueError(
                f"{names} and reads the field {name!r}, which {source.name} does not have (fields: "
                f"{', '.join(sorted(batch))})"
            )
        expected, found = spec.fields[name][0], batch[name].shape[1:]
        if expected != found:
            raise ValueError(
                f"{names} with a {name} of shape {list(expected)}, but that of {source.name} has "
                f"shape {list(found)}"
            )


def _check_names(source: Source, spec: DataSpec, names: str, reads: set[str]) -> None:
    """Columns, tokens and classes are known to a model by their number alone."""
    kinds = {"column_names": "column", "token_names": "token"}
    if "label" in reads:
        kinds["class_names"] = "class"
    for field, kind in kinds.items():
        own, other = spec.names.get(field), getattr(source, field)
        if not own or not other:
            continue
        for i, (a, b) in enumerate(zip(own, other, strict=False)):
            if a != b:
                raise ValueError(
                    f"{names}, whose {kind} {i} is {a!r}, but {kind} {i} of {source.name} is "
                    f"{b!r}: bring them into the same order"
                )


def _with_pixel_scale(source: Source, spec: DataSpec, names: str) -> Source:
    """The source with integer pixels divided by the largest value of the run's own pixels.

    The depth of uint16 pixels is guessed from the largest value of a file, so that of a darker file
    may be smaller than that of the run's data.
    """
    if spec.event not in ("image", "sequence"):
        return source
    scale, own = pixel_scale_of(source, spec.event), spec.pixel_scale
    if scale is None or scale in (1.0, own):  # floats and binary pixels are in [0, 1] as they are
        return source
    if scale > own or source.take(np.zeros(1, np.int32))[spec.event].dtype != np.uint16:
        raise ValueError(
            f"{names} with pixels from 0 to {own:g}, but {source.name} holds integer pixels up to "
            f"{scale:g}: give the same range, or floats in [0, 1]"
        )
    event, factor = spec.event, np.float32(scale / own)

    def decode(rows: PyTree) -> PyTree:
        batch = source.decode(rows)
        return {**batch, event: batch[event] * factor}

    return dataclasses.replace(source, decode=decode)
