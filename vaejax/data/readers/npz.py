"""Sources of arrays: from an .npz file, or directly from Python."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.data.load_options import LoadOptions
from vaejax.data.readers import fields
from vaejax.data.readers.images import fit, fitted_shape
from vaejax.data.readers.names import check_names, count_named_classes, read_names
from vaejax.data.readers.npz_file import is_sparse_npz, names_in_npz, read_npz
from vaejax.data.readers.ragged import mark_missing, pad_parts
from vaejax.data.readers.sparse_file import (
    is_sparse,
    read_sparse_npz,
    source_of_sparse,
    sparse_source,
)
from vaejax.data.readers.splits import EVAL_WORDS, VALIDATION_WORDS, spare_splits
from vaejax.data.row_storage import process_share
from vaejax.data.source import (
    DEFAULT_RESIDENT_BYTES,
    Rows,
    Source,
    decoder,
    hold_out,
    in_memory,
)

__all__ = ["from_arrays", "load_npz", "npz_spare_splits", "source_of_arrays"]


def load_npz(path: str, options: LoadOptions) -> Source:
    """The arrays of an .npz file; `from_arrays` lists the accepted names and shapes.

    Or the rows of the sparse matrix of a file that `scipy.sparse.save_npz` wrote, as `vector`.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: it is not an .npz file, or `from_arrays` does not accept its arrays.
    """
    file = Path(path).expanduser()
    if is_sparse_npz(file):
        rows = read_sparse_npz(file, max_bytes=options.max_bytes)
        return sparse_source(rows, {}, options)
    limit = options.max_resident_bytes
    share = process_share(limit) if process_share(limit) < limit else None
    arrays = read_npz(file, skip=fields.IGNORED, max_bytes=options.max_bytes, share=share)
    return source_of_arrays(arrays, options)


def npz_spare_splits(path: str, options: LoadOptions) -> tuple[str, ...]:
    """The splits that the names of a file's arrays define beside `'train'` and `'eval'`.

    Raises:
      FileNotFoundError, ValueError: as from `load_npz`.
    """
    file = Path(path).expanduser()
    names = [] if is_sparse_npz(file) else names_in_npz(file)
    return spare_splits({fields.split_of(name)[0] for name in names})


def from_arrays(
    arrays: Mapping[str, np.ndarray] | np.ndarray,
    split: str = "train",
    *,
    name: str = "arrays",
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
    length: int = 0,
    missing: str = "refuse",
) -> Source:
    """A source of arrays.

    Required is one of these, with one row per example:
      image (images, imgs, x): `[N, H, W]` or `[N, H, W, C]`; uint8 in 0..255, or in 0..1 if no
        value of any split exceeds 1; uint16, whose depth of 8 to 16 bits is the least that holds
        all splits; bool; or float in [0, 1].
      sequence (sequences): the same with a time axis, `[N, T, H, W]` or `[N, T, H, W, C]`.
      vector (vectors, counts, expression): `[N, D]`, any numbers; also a sparse matrix of SciPy,
        which stays sparse in memory.
      signal (signals, waveform, waveforms, audio): `[N, T]` or `[N, T, C]`, any numbers; int16
        audio is divided by 32,768, uint8 and bool are taken as they are.
      tokens (text): integers >= 0, `[N, T]` or a map `[N, H, W]`.
    Optional are:
      label (labels, y): integers `[N]`; −1 for none.
      mask: bool, where a value is present: `[N, T]` for sequences, signals and tokens, `[N, D]` for
        vectors, `[N, H, W]` for images. What is not counts in no loss and no metric.
      lengths: integers `[N]`, of padded sequences, signals and tokens; or row_splits: integers
        `[N + 1]`, where each begins and ends in values `[ΣT, ...]`. A list of arrays of different
        lengths needs neither.
      factors (latents_classes): integers `[N, K]`.
      condition (conditions): the input of a conditional model, vectors `[N, D]` or images
        `[N, H, W]` or `[N, H, W, C]`; any numbers, uint8 images divided by 255.
      truth (states): the true states of sequences and signals, `[N, T, D]`.
      class_names, factor_names, column_names, token_names: strings, one for each.
    Names with a prefix or suffix define splits, as in `train_images` or `X_test`, in any case
    (train or training; test, testing, eval, val, valid, validation or dev for `'eval'`, the first
    of these that exists); otherwise `holdout` of the examples are held out. One of the last four
    words beside a test split is the split `'validation'`.

    Args:
      arrays: by name; or one array, of images if its rank is 3 or 4, vectors (2), sequences (5).
      split: `'train'`, `'eval'`, or `'validation'` of arrays that have one beside a test split.
      name: the source's name.
      image_size: height and width of the returned images.
      channels: 1 or 3 channels of the returned images.
      holdout: fraction held out for `'eval'` if the names define no splits.
      max_resident_bytes: a split larger than this gets `arrays=None`.
      length: sequences, signals and tokens are padded to it; 0 for that of the longest, if they
        have different lengths.
      missing: what to do with NaN in vectors, and masked values of masked arrays: `'refuse'`, or
        `'mask'` them.

    Raises:
      ValueError: an unknown name, or another shape, type or range than these.
    """
    options = LoadOptions(
        name, split, image_size, channels, holdout, max_resident_bytes=max_resident_bytes,
        length=length, missing=missing,
    )  # fmt: skip
    if split == "validation" and isinstance(arrays, Mapping):
        spare = spare_splits({fields.split_of(key)[0] for key in arrays})
        part = next((word for word in VALIDATION_WORDS if word in spare), "")
        options = dataclasses.replace(options, part=part)
    if split == "validation" and not options.part:
        raise ValueError(
            "the names of the arrays define no validation split beside a training and a test split"
        )
    return source_of_arrays(arrays, options)


def source_of_arrays(arrays: Mapping[str, np.ndarray] | np.ndarray, options: LoadOptions) -> Source:
    """`from_arrays` with its keyword arguments as `options`."""
    if is_sparse(arrays):
        matrix: Any = arrays
        arrays = {"vector": matrix}
    if not isinstance(arrays, Mapping):
        rank_field = {2: "vector", 3: "image", 4: "image", 5: "sequence"}
        if np.ndim(arrays) not in rank_field:
            raise ValueError(f"expected an array of rank 2 to 5, found shape {np.shape(arrays)}")
        arrays = {rank_field[np.ndim(arrays)]: arrays}
    if any(is_sparse(value) for value in arrays.values()):
        return source_of_sparse(arrays, options)
    namings = read_names(arrays)
    columns = namings.get("column_names")
    by_split = fields.by_split(arrays)
    pad_parts(by_split, options.length)
    if options.missing == "mask":
        for named in by_split.values():
            mark_missing(named)
    parts = {
        part: {
            field: fields.validate(field, key, value, columns)
            for field, (key, value) in named.items()
        }
        for part, named in by_split.items()
    }
    stored = list(parts.values())
    for rows in stored:
        fields.check_rows(rows)
        check_names(namings, rows)
    fields.check_agreement(stored)
    # Computed from all splits, so that they are decoded alike.
    scale, counts = fields.pixel_scale(stored), fields.class_counts(stored)
    count_named_classes(counts, namings)

    eval_part = next((word for word in EVAL_WORDS if word in parts), None)
    if eval_part is None:
        (rows,) = stored
        positions = hold_out(_count(rows), options.split, options.holdout)
    else:
        names = {"train": "train", "eval": eval_part, "validation": options.part}
        rows = parts[names[options.split]]
        positions = np.arange(_count(rows))
    for field in {"image", "sequence"} & set(rows):
        pixels = rows[field]
        if pixels.shape != fitted_shape(pixels.shape, options.image_size, options.channels):
            if pixels.dtype == np.uint8 and scale == 1:
                pixels, scale = pixels * np.uint8(255), 255.0  # resizing makes grey levels
            rows[field] = fit(pixels, options.image_size, options.channels)
    return in_memory(
        rows,
        positions,
        max_resident_bytes=options.max_resident_bytes,
        name=options.source,
        split=options.split,
        decode=decoder(scale),
        **counts,
        **namings,
    )


def _count(rows: Rows) -> int:
    return len(next(iter(rows.values())))
