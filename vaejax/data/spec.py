"""The form of a dataset: shapes, types and names, from which a model is built without data."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import EVENTS
from vaejax.core.rng import key_shape
from vaejax.core.types import Options, PyTree, Setting
from vaejax.data.columns import (
    Column,
    TableForm,
    class_counts_of,
    columns_from_json,
    columns_to_json,
)
from vaejax.data.preprocess import condition_shape, preparation
from vaejax.data.source import Source, decoder, in_memory
from vaejax.data.standardize import Units, standardization, units_from_json, units_to_json

__all__ = ["DataSpec", "pixel_scale_of", "spec_of"]

_NAMES = ("class_names", "factor_names", "column_names", "token_names")


class DataSpec(NamedTuple):
    """The form of a dataset, stored as `data.json` in a run's working directory.

    Attributes:
      fields: name -> shape (without the batch axis) and dtype of each field of a prepared batch.
      pixel_scale: divisor of stored uint8 pixels, 255 or 1.
      examples: number of training examples.
      classes: number of classes of `label`; 0 without labels.
      tokens: number of classes of `tokens`; 0 without tokens.
      names: `class_names`, `factor_names`, `column_names` and `token_names`, if the data has them.
      standardization: field -> the units in which models see it, from the training examples.
      columns: see `Source.columns`; else `()`.
      condition_columns: see `Source.condition_columns`; else `()`.
    """

    fields: dict[str, tuple[tuple[int, ...], str]]
    pixel_scale: float
    examples: int
    classes: int
    tokens: int
    names: dict[str, tuple[str, ...]]
    standardization: dict[str, Units] = {}  # noqa: RUF012  never changed
    columns: tuple[Column, ...] = ()
    condition_columns: tuple[Column, ...] = ()

    @property
    def event(self) -> str:
        """The name in `events.EVENTS` of the modelled field."""
        return next(name for name in EVENTS if name in self.fields)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one event."""
        return self.fields[self.event][0]

    def dataset_info(self) -> dict[str, Setting]:
        """The properties of the data that `families.build` uses."""
        info: dict[str, Setting] = {
            "examples": self.examples,
            "classes": self.classes,
            "tokens": self.tokens,
        }
        shapes, columns = self.batch(1), class_counts_of(self.columns)
        units = {"standardization": self.standardization, "batch_shapes": shapes}
        info |= {"layout": None, "condition_shape": condition_shape(shapes)}
        return {**info, "column_classes": columns, **units}

    def batch(self, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of a prepared batch of this size."""
        return {
            name: jax.ShapeDtypeStruct((size, *shape), jnp.dtype(dtype))
            for name, (shape, dtype) in self.fields.items()
        }

    def table_form(self) -> TableForm | None:
        """The columns by which other tables are read for this run; None if its data are none."""
        if self.event != "vector":
            return None
        columns = self.columns or tuple(map(Column, self.names.get("column_names", ())))
        names = self.names.get("class_names", ())
        return TableForm(columns, self.condition_columns, names, self.classes)

    def source(self, rows: Mapping[str, np.ndarray]) -> Source:
        """A source of stored rows of this form, `[N, ...]` each."""
        size = len(next(iter(rows.values())))
        names: dict[str, Setting] = dict(self.names)
        return in_memory(
            rows,
            np.arange(size),
            name="arrays",
            split="eval",
            decode=decoder(self.pixel_scale),
            num_classes=self.classes or None,
            num_tokens=self.tokens or None,
            columns=self.columns or None,
            condition_columns=self.condition_columns or None,
            **names,
        )

    def to_json(self) -> dict[str, Setting]:
        """The fields as JSON values."""
        return {
            **self._asdict(),
            "standardization": units_to_json(self.standardization),
            "columns": columns_to_json(self.columns),
            "condition_columns": columns_to_json(self.condition_columns),
        }

    @classmethod
    def from_json(cls, stored: Options) -> "DataSpec":
        """The inverse of `to_json`."""
        fields = {name: (tuple(shape), dtype) for name, (shape, dtype) in stored["fields"].items()}
        names = {name: tuple(values) for name, values in stored["names"].items()}
        units = units_from_json(stored.get("standardization", {}))
        columns = {
            name: columns_from_json(stored.get(name, ()))
            for name in ("columns", "condition_columns")
        }
        changed = {"fields": fields, "names": names, "standardization": units, **columns}
        return cls(**{**stored, **changed})


def pixel_scale_of(source: Source, field: str) -> float | None:
    """The divisor of stored pixels; None if the rows are not stored pixel by pixel.

    Args:
      source: of images or sequences.
      field: `'image'` or `'sequence'`.
    """
    rows = source.take(np.zeros(1, np.int32))
    stored = rows.get(field)
    shape = jax.eval_shape(source.decode, rows)[field].shape
    if stored is None or stored.shape[1:] != shape[1:]:
        return None
    ones: PyTree = {**rows, field: np.ones_like(stored)}
    return float(np.round(1.0 / np.asarray(source.decode(ones)[field]).max()))


def spec_of(source: Source, binarize: str = "none") -> DataSpec:
    """The form of a training split.

    Args:
      source: the split.
      binarize: as in training, see `preprocess.preparation`.
    """
    rows = source.take(np.zeros(1, np.int32))
    batch = jax.eval_shape(preparation(source, binarize), rows, key_shape())
    fields = {name: (tuple(a.shape[1:]), str(a.dtype)) for name, a in batch.items()}
    scales = [pixel_scale_of(source, name) for name in ("image", "sequence") if name in fields]
    return DataSpec(
        fields,
        next((scale for scale in scales if scale), 255.0),
        source.size,
        source.num_classes or 0,
        source.num_tokens or 0,
        {name: names for name in _NAMES if (names := getattr(source, name))},
        standardization(source),
        source.columns or (),
        source.condition_columns or (),
    )
