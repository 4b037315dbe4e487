"""The accepted names, shapes, types and ranges of arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from vaejax.core.events import EVENTS
from vaejax.core.types import Setting
from vaejax.data.readers.numbers import check_is_numeric, to_float32
from vaejax.data.readers.ragged import is_ragged
from vaejax.data.readers.splits import SPLIT_WORDS, TRAIN_WORDS
from vaejax.data.source import Rows

__all__ = [
    "IGNORED",
    "NAMINGS",
    "bit_depth_scale",
    "by_split",
    "check_agreement",
    "check_rows",
    "class_counts",
    "pixel_scale",
    "split_of",
    "validate",
]

_ALIASES = {
    "image": ("image", "images", "imgs", "x"),
    "sequence": ("sequence", "sequences"),
    "vector": ("vector", "vectors", "counts", "expression"),
    "signal": ("signal", "signals", "waveform", "waveforms", "audio"),
    "tokens": ("tokens", "text"),
    "label": ("label", "labels", "y"),
    "factors": ("factors", "latents_classes"),
    "condition": ("condition", "conditions"),
    "truth": ("truth", "states"),
    "mask": ("mask", "masks"),
    "lengths": ("lengths",),
    "row_splits": ("row_splits",),
}
NAMINGS = ("class_names", "factor_names", "column_names", "token_names")
# Further arrays of the published dSprites file.
IGNORED = ("metadata", "latents_values", "original_dataset_indices")

_FIELD_OF = {alias: field for field, aliases in _ALIASES.items() for alias in aliases}
_AXES = {
    "image": "[N, H, W] or [N, H, W, C]",
    "sequence": "[N, T, H, W] or [N, T, H, W, C]",
    "vector": "[N, D]",
    "signal": "[N, T] or [N, T, C]",
    "tokens": "[N, T] or [N, H, W]",
    "label": "[N]",
    "factors": "[N, K]",
    "condition": "[N, D], [N, H, W] or [N, H, W, C]",
    "truth": "[N, T, D]",
    "mask": "[N, T], [N, D] or [N, H, W]",
    "lengths": "[N]",
}
_RANKS = {
    "image": (3, 4), "sequence": (4, 5), "vector": (2,), "signal": (2, 3), "tokens": (2, 3),
    "label": (1,), "factors": (2,), "condition": (2, 3, 4), "truth": (3,),
    "mask": (2, 3), "lengths": (1,),
}  # fmt: skip


def split_of(key: str) -> tuple[str, str]:
    """The split that the name of an array begins or ends with, `''` if none, and the rest."""
    part, alias = "", key.lower()
    for word in SPLIT_WORDS:
        if key.lower().startswith(f"{word}_"):
            part, alias = word, key.lower().removeprefix(f"{word}_")
        elif key.lower().endswith(f"_{word}"):
            part, alias = word, key.lower().removesuffix(f"_{word}")
    return ("train" if part in TRAIN_WORDS else part), alias


def by_split(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, tuple[str, np.ndarray]]]:
    """The (key, array) of each field in each split; one split `''` if the keys name no splits."""
    parts: dict[str, dict[str, tuple[str, np.ndarray]]] = {}
    for key, value in arrays.items():
        if key in IGNORED or key in NAMINGS:
            continue
        part, alias = split_of(key)
        if alias not in _FIELD_OF:
            accepted = "; ".join(", ".join(aliases) for aliases in _ALIASES.values())
            raise ValueError(
                f"unknown array {key!r} among {sorted(arrays)}: accepted are {accepted}, each also "
                f"as train_NAME or NAME_test; and {', '.join(NAMINGS)}"
            )
        field = _FIELD_OF[alias]
        if alias == "x":
            rank = 0 if is_ragged(value) else np.ndim(value)
            field = {2: "vector", 5: "sequence"}.get(rank, "image")
        if field in parts.setdefault(part, {}):
            raise ValueError(f"{parts[part][field][0]!r} and {key!r} both name the field {field}")
        parts[part][field] = (key, value)
    if list(parts) != [""] and ("" in parts or "train" not in parts):
        raise ValueError(
            f"either all of the arrays {sorted(arrays)} must name a split, including train, or none"
        )
    return parts


def validate(
    field: str,
    key: str,
    value: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    rounding: bool = True,
) -> np.ndarray:
    """The array in its stored form: pixels and signals with a channel axis, int32 classes.

    Args:
      field: of a batch.
      key: of the array, for errors.
      value: the array.
      names: of the columns of a vector, for errors.
      rounding: whether to refuse columns that float32 rounds, see `numbers.to_float32`.

    Raises:
      ValueError: a shape, type or range that the field does not accept.
    """
    if field == "mask":
        value = check_is_numeric(key, value, "b", "booleans")
    classes = field in ("label", "factors", "tokens", "lengths")
    what = "integers" if classes else "numbers"
    value = check_is_numeric(key, value, "iu" if classes else "biuf", what)
    if field == "label" and value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    found = f"found {value.dtype} {value.shape}"
    if value.ndim not in _RANKS[field] or 0 in value.shape:
        raise ValueError(f"{key!r} must have the shape {_AXES[field]}, {found}")
    kind = value.dtype.kind
    if field == "mask":
        return value
    if classes:
        if value.min() < (-1 if field == "label" else 0) or value.max() > np.iinfo(np.int32).max:
            span = f"[{value.min()}, {value.max()}]"
            none = ", or −1 for none" if field == "label" else ""
            raise ValueError(f"{key!r} must hold class numbers from 0{none}, found {span}")
        if value.max() < 0:
            raise ValueError(f"{key!r} holds no class numbers from 0, only −1 for none: remove it")
        return value.astype(np.int32, copy=False)
    if field == "condition":
        scale = 255 if value.ndim > 2 and value.dtype == np.uint8 else 1
        value = value[..., None] if value.ndim == 3 else value
        return to_float32(field, key, value, rounding=rounding) / np.float32(scale)
    if field in ("vector", "truth"):
        if _is_small(value):
            return value
        return to_float32(field, key, value, names, rounding=rounding)
    if field == "signal":
        value = value[..., None] if value.ndim == 2 else value
        if kind == "b":
            return value.view(np.uint8)
        stored = value.dtype in (np.uint8, np.int16)
        return value if stored else to_float32(field, key, value, rounding=rounding)
    if value.ndim == _RANKS[field][0]:
        value = value[..., None]
    if value.shape[-1] > 4 and value.shape[-3] in (1, 3):
        raise ValueError(f"{key!r} must have its channels last, {_AXES[field]}, {found}")
    if kind == "f":
        low, high = value.min(), value.max()
        if not (low >= 0 and high <= 1):  # NaN fails this too
            raise ValueError(f"{key!r} is float and must lie in [0, 1], found [{low}, {high}]")
        return value.astype(np.float32, copy=False)
    if value.dtype not in (np.uint8, np.uint16, np.bool_):
        raise ValueError(f"{key!r} must be uint8, uint16, bool or float in [0, 1], {found}")
    return value.view(np.uint8) if kind == "b" else value


def _is_small(value: np.ndarray) -> bool:
    """Whether the array is stored as it is: integers of at most 16 bits."""
    return value.dtype.kind in "iu" and value.itemsize <= 2


def check_rows(rows: Rows) -> None:
    """Raises ValueError unless there is exactly one event field, and all have equally many rows."""
    if len(set(EVENTS) & set(rows)) != 1:
        raise ValueError(f"expected one of {', '.join(EVENTS)} in each split, found {sorted(rows)}")
    if len({len(value) for value in rows.values()}) > 1:
        lengths = {field: len(value) for field, value in rows.items()}
        raise ValueError(f"all arrays must have one row per example, found rows {lengths}")
    if "mask" in rows:
        name = next(field for field in EVENTS if field in rows)
        axes = {"image": 3, "tokens": rows[name].ndim}.get(name, 2)
        expected, shape = rows[name].shape[:axes], rows["mask"].shape
        if shape != expected:
            raise ValueError(f"the mask of {name} must have shape {expected}, found {shape}")


def check_agreement(parts: list[Rows]) -> None:
    """Raises ValueError if splits differ in fields, types or shapes of a row."""
    for rows in parts[1:]:
        forms = [
            {field: (value.dtype.name, value.shape[1:]) for field, value in part.items()}
            for part in (parts[0], rows)
        ]
        if forms[0] != forms[1]:
            raise ValueError(f"the splits differ in types or shapes: {forms[0]} and {forms[1]}")


def class_counts(parts: list[Rows]) -> dict[str, Setting]:
    """`num_classes`, `num_tokens` and `factor_sizes`: the largest class + 1."""
    counts: dict[str, Setting] = {}
    if labels := [rows["label"] for rows in parts if "label" in rows]:
        counts["num_classes"] = 1 + max(int(label.max()) for label in labels)
    if tokens := [rows["tokens"] for rows in parts if "tokens" in rows]:
        counts["num_tokens"] = 1 + max(int(part.max()) for part in tokens)
    if factors := [rows["factors"].max(axis=0) for rows in parts if "factors" in rows]:
        counts["factor_sizes"] = tuple((1 + np.max(factors, axis=0)).tolist())
    return counts


def pixel_scale(parts: list[Rows]) -> float:
    """The divisor of stored pixels, the same for all splits.

    1 for floats and for zeros and ones; for integers the largest value of their depth, which is 8
    bits, or for uint16 the fewest of 9 to 16 bits that hold the largest value: 4,095 for the 12
    bits of many cameras.
    """
    pixels = [rows[field] for rows in parts for field in ("image", "sequence") if field in rows]
    return bit_depth_scale(max((int(p.max()) for p in pixels if p.dtype.kind == "u"), default=0))


def bit_depth_scale(high: int) -> float:
    """The largest value of the depth of integer pixels whose largest value is `high`."""
    return 1.0 if high <= 1 else float(2 ** max(8, high.bit_length()) - 1)
