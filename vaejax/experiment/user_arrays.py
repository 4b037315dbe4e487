"""Arrays as users have them, checked and brought into the form of a run's data."""

from collections.abc import Mapping

import numpy as np

from vaejax.core.registry import near_names
from vaejax.core.types import PyTree, UserArray
from vaejax.data.columns import check_stored, numbers_of_columns, one_hot_columns
from vaejax.data.readers import fields
from vaejax.data.readers.ragged import mark_missing, pad_rows
from vaejax.data.spec import DataSpec
from vaejax.distributions import Support

__all__ = ["check_values", "condition_fields", "event_fields", "event_rows", "without_missing"]


def event_rows(spec: DataSpec, x: UserArray) -> tuple[np.ndarray, bool]:
    """Events as rows `[N, *event_shape]` with pixels in [0, 1], and whether x had no axis N.

    Args:
      spec: of the run's data.
      x: events `[N, ...]`, or one without the axis N; of a table also a dict of its columns or a
        data frame, of counts also a sparse matrix.

    Raises:
      ValueError: another shape, type or range than the run's data.
    """
    x = _numbers(spec, x)
    x = x.toarray() if hasattr(x, "toarray") else x
    x, name, shape = np.asarray(x), spec.event, spec.event_shape
    channels_left_out = name in ("image", "sequence", "signal") and shape[-1] == 1
    single = x.shape == shape or (channels_left_out and x.shape == shape[:-1])
    if single:
        x = x[None]
    if channels_left_out and x.shape[1:] == shape[:-1]:
        x = x[..., None]
    if x.shape[1:] != shape or not len(x):
        raise ValueError(
            f"the run was trained on {name}s of shape {list(shape)}; expected an array of shape "
            f"[N, {', '.join(map(str, shape))}], found {list(x.shape)}"
        )
    rows = fields.validate(name, "x", x, spec.names.get("column_names"), rounding=False)
    if spec.columns:
        check_stored(spec.columns, rows)
    if name in ("image", "sequence") and rows.dtype.kind == "u":
        scale = 1.0 if x.dtype == np.bool_ else spec.pixel_scale
        if rows.max() > scale:
            raise ValueError(
                f"the run was trained on integer pixels up to {scale:g}, found {rows.max()}; pass "
                "floats in [0, 1]"
            )
        rows = rows.astype(np.float32) / np.float32(scale)
    return rows, single


def _numbers(spec: DataSpec, x: UserArray, *, missing: bool = False) -> PyTree:
    """The rows of a table that is given by its columns; x itself otherwise."""
    if spec.columns and (isinstance(x, Mapping) or hasattr(x, "columns")):
        return numbers_of_columns(spec.columns, x, missing=missing)
    return x


def event_fields(spec: DataSpec, x: UserArray) -> tuple[dict[str, np.ndarray], bool]:
    """The event and, of a run whose data had one, its mask; and whether x had no axis N.

    Args:
      spec: of the run's data.
      x: as for `event_rows`. Of tables NaN is a missing value; sequences, signals and tokens may be
        shorter than those of the run, and a list of arrays of different lengths.

    Raises:
      ValueError: as `event_rows`; longer sequences.
    """
    name = spec.event
    if "mask" not in spec.fields:
        rows, single = event_rows(spec, x)
        return {name: rows}, single
    mask: np.ndarray
    if name == "vector":
        named = {name: ("x", np.asarray(_numbers(spec, x, missing=True)))}
        mark_missing(named)
        rows, single = event_rows(spec, named[name][1])
        mask = np.asarray(named["mask"][1])
        mask = mask[None] if single else mask
    elif name == "image":
        rows, single = event_rows(spec, x)
        mask = np.ones((len(rows), *spec.fields["mask"][0]), bool)
    else:
        length, single = spec.event_shape[0], _is_one_sequence(spec, x)
        padded, lengths = pad_rows("x", [x] if single else list(x), length)
        rows, _ = event_rows(spec, padded)
        mask = np.arange(length) < lengths[:, None]
    return {name: rows, "mask": mask}, single


def _is_one_sequence(spec: DataSpec, x: UserArray) -> bool:
    """Whether x, of any length, has no axis of examples."""
    if isinstance(x, list | tuple) or x.dtype.kind == "O":
        return False
    shape = spec.event_shape
    without_channels = spec.event != "tokens" and shape[-1] == 1 and x.ndim == len(shape) - 1
    return without_channels or x.shape[1:] == shape[1:]


def check_values(
    support: Support,
    spec: DataSpec,
    events: np.ndarray,
    observed: np.ndarray | None = None,
    *,
    trained_on: str,
) -> None:
    """Raises ValueError if events are outside of the support of a run's likelihood.

    Args:
      support: of the likelihood.
      spec: of the run's data.
      events: from `event_rows`.
      observed: bool, the elements that count; None for all.
      trained_on: name of the run's data, for the error.
    """
    if spec.event == "signal" and events.dtype == np.int16:
        return  # audio, which is read as values in [-1, 1)
    inside = np.broadcast_to(support.contains(events), events.shape)
    if observed is not None:
        inside = inside | ~observed
    if inside.all():
        return
    where = tuple(np.argwhere(~inside)[0])
    names = spec.names.get("column_names")
    column = f"column {names[where[-1]]!r} of " if names and spec.event == "vector" else ""
    raise ValueError(
        f"the run's likelihood is for {support.values}, but {column}event {where[0]} holds "
        f"{events[where]:.9g}: give data like those that the run was trained on, {trained_on}"
    )


def condition_fields(
    spec: DataSpec, name: str | None, condition: UserArray, n: int, *, optional: bool
) -> dict[str, np.ndarray]:
    """The field of a batch that holds the condition; `{}` for none.

    Args:
      spec: of the run's data.
      name: of the field that the model is conditioned on; None for a model without condition.
      condition: labels (numbers or names of classes), an array, or a dict of the columns of a
        table, `[n, ...]` or one for all; None for none.
      n: number of examples.
      optional: whether the model was also trained without its condition.

    Raises:
      ValueError: a condition is missing, superfluous, or does not fit.
    """
    if name is None:
        if condition is not None:
            raise ValueError("this run's model is not conditional: leave the condition out")
        return {}
    if condition is None:
        if not optional:
            raise ValueError(f"this run's model is conditional: pass condition={_example(name)}")
        shape, dtype = spec.fields[name]
        return {name: np.full((n, *shape), -1 if name == "label" else 0, dtype)}
    if name == "label":
        return {"label": _labels(spec, condition, n)}
    shape, dtype = spec.fields[name]
    if spec.condition_columns and (isinstance(condition, Mapping) or hasattr(condition, "columns")):
        rows = numbers_of_columns(spec.condition_columns, condition)
        condition = one_hot_columns(spec.condition_columns, rows)
        condition = condition[0] if len(condition) == 1 else condition
    value = np.asarray(condition, dtype)
    value = np.broadcast_to(value, (n, *shape)) if value.shape == shape else value
    if value.shape != (n, *shape):
        raise ValueError(
            f"the condition must have shape {[n, *shape]} or {list(shape)}, found "
            f"{list(value.shape)}"
        )
    return {name: value}


def _example(name: str) -> str:
    return "a class number or [N] of them" if name == "label" else "an array"


def _labels(spec: DataSpec, condition: UserArray, n: int) -> np.ndarray:
    """Class numbers int32 `[n]`."""
    names = spec.names.get("class_names", ())
    value = np.asarray(condition)
    if value.dtype.kind in "US":
        for label in value.reshape(-1):
            if str(label) not in names:
                raise ValueError(f"unknown class {near_names(str(label), names)}")
        value = np.vectorize(lambda label: names.index(str(label)))(value)
    if value.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers or class names, found {value.dtype}")
    value = np.broadcast_to(value, (n,)) if value.ndim == 0 else value
    if value.shape != (n,):
        raise ValueError(f"expected one label or {n} of them, found shape {list(value.shape)}")
    if value.min() < -1 or value.max() >= spec.classes:
        raise ValueError(
            f"labels must lie in 0..{spec.classes - 1}, or be -1 for no class; found "
            f"{value.min()}..{value.max()}"
        )
    return value.astype(np.int32)


def without_missing(x: UserArray, missing: UserArray) -> tuple[np.ndarray, np.ndarray]:
    """Events with zeros at their missing elements, and a mask that is True there.

    Args:
      x: events; NaN marks missing elements.
      missing: bool of the shape of x, or None.

    Raises:
      ValueError: the mask has another shape or type, or nothing is missing.
    """
    x = np.asarray(x)
    mask = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    if missing is not None:
        given = np.asarray(missing)
        if given.dtype != np.bool_ or given.shape != x.shape:
            raise ValueError(
                f"missing must be bool of the shape of x, {list(x.shape)}, found {given.dtype} "
                f"{list(given.shape)}"
            )
        mask = mask | given
    if not mask.any():
        raise ValueError("nothing is missing: mark elements by NaN, or pass missing=")
    return np.where(mask, np.zeros((), x.dtype), x), mask
