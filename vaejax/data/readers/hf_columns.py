"""Finding the splits and the columns of datasets of Hugging Face."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaejax.core.types import Options, Setting, Untyped
from vaejax.data.load_options import LoadOptions
from vaejax.data.readers.fields import validate
from vaejax.data.readers.image_files import StoredFile
from vaejax.data.readers.splits import EVAL_WORDS, TRAIN_WORDS, spare_splits

__all__ = [
    "Columns",
    "classes_of",
    "columns_of",
    "hf_spare_splits",
    "labels_of",
    "splits_of",
    "stored_files",
    "train_and_eval",
]

_LABELS = ("label", "labels", "fine_label")


class Columns(NamedTuple):
    """What the columns of a dataset are used for."""

    image: str | None
    audio: str | None
    vector: tuple[str, ...]
    label: str | None


def hf_spare_splits(argument: str, options: LoadOptions) -> tuple[str, ...]:
    """The splits of a dataset that are neither `'train'` nor `'eval'`.

    Raises:
      FileNotFoundError, ImportError: as from `load_hf`.
    """
    return spare_splits(splits_of(argument, options))


def splits_of(argument: str, options: LoadOptions) -> dict[str, Setting]:
    """The datasets of the splits, by name."""
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"hf: sources need a package that is not installed ({error}): pip install 'vaejax[hf]'"
        ) from error
    bars = datasets.utils.logging.is_progress_bar_enabled()
    datasets.utils.logging.disable_progress_bar()
    try:
        loaded = _load(datasets, argument)
    except Exception as error:  # of the file system, the network, the Hub or the files
        text = " ".join(str(error).split())[:300]
        raise FileNotFoundError(
            f"{options.source} is neither a folder saved by datasets nor a dataset that can be "
            f"loaded: {text}"
        ) from error
    finally:
        if bars:
            datasets.utils.logging.enable_progress_bar()
    if isinstance(loaded, datasets.DatasetDict):
        return {str(name): part for name, part in loaded.items()}
    return {"train": loaded}


def _load(datasets: Untyped, argument: str) -> Untyped:
    folder = Path(argument).expanduser()
    if not folder.is_dir():
        if argument.startswith(("/", ".", "~")):
            raise FileNotFoundError(f"no folder {folder}")
        name, _, config = argument.partition(":")
        return datasets.load_dataset(name, config or None)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return datasets.load_from_disk(str(folder))
    for kind in ("parquet", "arrow"):
        if any(folder.rglob(f"*.{kind}")):
            return datasets.load_dataset(kind, data_dir=str(folder))
    raise FileNotFoundError(f"{folder} holds no dataset_dict.json, Parquet or Arrow files")


def train_and_eval(parts: Options, source: str) -> tuple[str, str]:
    """The names of these splits; the same for a dataset with one split."""
    train = next((name for name in TRAIN_WORDS if name in parts), None)
    if train is None and len(parts) == 1:
        train = next(iter(parts))
    if train is None:
        raise ValueError(f"{source} has no split 'train', found {', '.join(sorted(parts))}")
    return train, next((name for name in EVAL_WORDS if name in parts), train)


def columns_of(features: Options, source: str) -> Columns:
    """What the columns are used for.

    Args:
      features: of the dataset, by the names of its columns.
      source: for errors.

    Raises:
      ValueError: none can be used.
    """
    kinds = {name: type(feature).__name__ for name, feature in features.items()}

    def only(kind: str, preferred: tuple[str, ...]) -> str | None:
        found = [name for name, of in kinds.items() if of == kind]
        named = [name for name in preferred if name in found]
        if named:
            return named[0]
        return found[0] if len(found) == 1 else None

    image, audio = only("Image", ("image", "img")), only("Audio", ("audio",))
    label = only("ClassLabel", _LABELS)
    if label is None:
        integers = [n for n in _LABELS if n in features and _is_number(features[n], "int")]
        label = integers[0] if integers else None
    vector = tuple(
        name
        for name, feature in features.items()
        if name != label and _is_number(_element(feature), "int", "uint", "float", "bool")
    )
    if not (image or audio or vector):
        described = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise ValueError(f"{source} has no column of images, audio or numbers, found {described}")
    return Columns(image, audio, () if image or audio else vector, label)


def _element(feature: Untyped) -> Untyped:
    """The feature itself, or that of a list's elements."""
    return getattr(feature, "feature", feature)


def _is_number(feature: Untyped, *kinds: str) -> bool:
    return type(feature).__name__ == "Value" and str(feature.dtype).startswith(kinds)


def classes_of(parts: Options, label: str | None) -> tuple[int | None, tuple[str, ...] | None]:
    """Number and names of the classes."""
    if label is None:
        return None, None
    feature = next(iter(parts.values())).features[label]
    if names := getattr(feature, "names", None):
        return len(names), tuple(names)
    return 1 + max(int(labels_of(part, label).max()) for part in parts.values()), None


def labels_of(part: Untyped, label: str) -> np.ndarray:
    """The classes int32 `[N]` in a column of a split."""
    values = np.asarray(part.with_format("numpy")[label][:])
    return validate("label", label, values)


def stored_files(part: Untyped, column: str, source: str) -> Callable[[int], Untyped]:
    """The function from the number of an example to the file of its image or sound."""
    import datasets

    feature = type(part.features[column])(decode=False)
    files = part.select_columns([column]).cast_column(column, feature)
    assert isinstance(files, datasets.Dataset)

    def stored(index: int) -> Untyped:
        value = files[int(index)][column]
        if value is None:
            raise ValueError(f"{column!r} of example {index} of {source} is missing")
        if value["bytes"] is None:
            return Path(value["path"])
        return StoredFile(value["bytes"], f"{column!r} of example {index} of {source}")

    return stored
