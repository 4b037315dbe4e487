"""The validation split: one of the data's own, or a fraction of the training split.

Models and checkpoints are selected on it, so that the test data decide nothing.
"""

from collections.abc import Callable

import numpy as np

from vaejax.core.registry import near_names
from vaejax.data.load_options import LoadOptions
from vaejax.data.readers.folder import folder_spare_splits
from vaejax.data.readers.hf_columns import hf_spare_splits
from vaejax.data.readers.npz import npz_spare_splits
from vaejax.data.readers.splits import VALIDATION_WORDS
from vaejax.data.readers.tables import table_spare_splits
from vaejax.data.readers.tfds import tfds_spare_splits
from vaejax.data.readers.wav import wav_spare_splits
from vaejax.data.source import Source, subset

__all__ = ["AUTO", "NONE", "check_validation", "fraction_of", "resolve_validation", "split_off"]

AUTO, NONE = "auto", "none"

# Kind of source -> `(argument, options) -> names of the splits that are neither train nor eval`.
_SPARE: dict[str, Callable[[str, LoadOptions], tuple[str, ...]]] = {
    "tfds": tfds_spare_splits,
    "folder": folder_spare_splits,
    "npz": npz_spare_splits,
    "wav": wav_spare_splits,
    "hf": hf_spare_splits,
    "csv": table_spare_splits,
    "parquet": table_spare_splits,
}


def fraction_of(setting: str) -> float | None:
    """The fraction that a setting of `data.validation` is; None if it is a word.

    Raises:
      ValueError: the number is not a fraction between 0 and 1.
    """
    try:
        fraction = float(setting)
    except ValueError:
        return None
    if not 0 <= fraction < 1:
        raise ValueError(f"data.validation is a fraction, at least 0 and below 1, found {setting}")
    return fraction


def check_validation(setting: str) -> None:
    """Checks a setting of `data.validation` without reading data.

    Raises:
      ValueError: it is empty, or a number that is no fraction.
    """
    if not setting:
        raise ValueError(
            "data.validation is 'auto', 'none', a fraction of the training data as in '0.1', or "
            "the name of a split; it is empty"
        )
    fraction_of(setting)


def resolve_validation(source: str, setting: str, options: LoadOptions) -> str:
    """The validation split of data: `'none'`, a fraction, or the data's name of a split.

    Args:
      source: the source string.
      setting: `'auto'` for the data's own validation split, if they have one beside a test split;
        `'none'`; a fraction of the training split; or the name of a split.
      options: of `load`.

    Raises:
      ValueError: the data have no such split, or it is the training or the evaluation split.
    """
    check_validation(setting)
    if setting == NONE or (fraction := fraction_of(setting)) == 0:
        return NONE
    if fraction is not None:
        return setting
    kind, _, argument = source.partition(":")
    spare = _SPARE[kind](argument, options) if kind in _SPARE and argument else ()
    if setting == AUTO:
        return next((word for word in VALIDATION_WORDS if word in spare), NONE)
    if setting in spare:
        return setting
    if not spare:
        raise ValueError(
            f"data.validation={setting}: {source} has no split beside those for training and "
            "evaluation; data.validation=0.1 takes a tenth of the training data"
        )
    raise ValueError(f"data.validation: {source} has no further split {near_names(setting, spare)}")


def split_off(train: Source, fraction: float, split: str) -> Source:
    """The part of a training split that is left to train on, or the one for validation.

    The examples are chosen by the size of the split and the fraction alone, so runs with different
    seeds use the same ones.

    Args:
      train: all training examples.
      fraction: for validation.
      split: `'train'` or `'validation'`.

    Raises:
      ValueError: nothing is left to train on.
    """
    held = max(1, round(train.size * fraction))
    if held >= train.size:
        raise ValueError(
            f"data.validation={fraction} of {train.size} examples leaves none to train on"
        )
    # The legacy generator, whose stream NumPy guarantees never to change.
    order = np.random.RandomState(1).permutation(train.size)
    chosen = order[:held] if split == "validation" else order[held:]
    return subset(train, np.sort(chosen), split)
