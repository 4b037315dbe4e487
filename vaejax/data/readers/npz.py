"""Arrays: from an .npz file, or straight from Python."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vaejax.data.readers import fields
from vaejax.data.readers.images import check_request, fit, fitted_shape
from vaejax.data.source import (
    DEFAULT_RESIDENT_BYTES,
    Rows,
    Source,
    check_split,
    decoder,
    hold_out,
    in_memory,
)


def load_npz(
    path: str,
    split: str = "train",
    *,
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
) -> Source:
    """The arrays of an .npz file; see `from_arrays` for the names and forms that are accepted.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no .npz file, or `from_arrays` cannot take its arrays.
    """
    check_split(split)
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}: npz:PATH needs a file written by numpy.savez")
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is no .npz file, or is truncated")
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files if key not in fields.IGNORED}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot read {file}: {error}") from error
    return from_arrays(
        arrays,
        split,
        name=f"npz:{path}",
        image_size=image_size,
        channels=channels,
        holdout=holdout,
        max_resident_bytes=max_resident_bytes,
    )


def from_arrays(
    arrays: Mapping[str, np.ndarray] | np.ndarray,
    split: str = "train",
    *,
    name: str = "arrays",
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
) -> Source:
    """A source of arrays.

    One of these, with one row for each example:
      image (images, imgs, x): `[N, H, W]` or `[N, H, W, C]`; uint8 in 0..255, or in 0..1 if no
        value of any split exceeds 1; bool; or float in [0, 1].
      sequence (sequences): the same with a time axis, `[N, T, H, W]` or `[N, T, H, W, C]`.
      vector (vectors, counts, expression): `[N, D]`, any numbers.
      signal (signals, waveform, waveforms, audio): `[N, T]` or `[N, T, C]`, any floats, or int16
        sound, which is divided by 32,768.
      tokens (text): integers from 0 on, `[N, T]` or a map `[N, H, W]`.
    And optionally:
      label (labels, y): integers `[N]`.
      factors (latents_classes): integers `[N, K]`.
      condition (conditions): what a conditional model is given, vectors `[N, D]` or images
        `[N, H, W]` or `[N, H, W, C]`; any numbers, uint8 images divided by 255.
      truth (states): of sequences and signals, what is known of each time, `[N, T, D]`.
      class_names, factor_names, column_names, token_names: strings.
    Splits are named as in `train_images` or `x_test` (test, eval, val, valid or validation for
    `'eval'`); otherwise `holdout` of the examples are.

    Args:
      arrays: by name; or one array, of images if its rank is 3 or 4, vectors (2), sequences (5).
      split: `'train'` or `'eval'`.
      name: the source's name.
      image_size: height and width to give to images.
      channels: 1 or 3, to give to images.
      holdout: fraction held out for `'eval'` where the names say no splits.
      max_resident_bytes: a split larger than this gets `arrays=None`.

    Raises:
      ValueError: for an unknown name, or another shape, type or range than these.
    """
    check_split(split)
    check_request(image_size, channels)
    if not isinstance(arrays, Mapping):
        rank_field = {2: "vector", 3: "image", 4: "image", 5: "sequence"}
        if np.ndim(arrays) not in rank_field:
            raise ValueError(f"expected an array of rank 2 to 5, found shape {np.shape(arrays)}")
        arrays = {rank_field[np.ndim(arrays)]: arrays}
    namings = {key: tuple(map(str, arrays[key])) for key in fields.NAMINGS if key in arrays}
    parts = {
        part: {field: fields.checked(field, key, value) for field, (key, value) in named.items()}
        for part, named in fields.by_split(arrays).items()
    }
    stored = list(parts.values())
    for rows in stored:
        fields.check_rows(rows)
    fields.check_agreement(stored)
    # These are of all splits together, so that both are decoded alike.
    scale, counts = fields.pixel_scale(stored), fields.class_counts(stored)
    fields.name_tokens(counts, namings)

    held = next((word for word in fields.EVAL_WORDS if word in parts), None)
    if held is None:
        (rows,) = stored
        positions = hold_out(_count(rows), split, holdout)
    else:
        rows = parts["train" if split == "train" else held]
        positions = np.arange(_count(rows))
    for field in {"image", "sequence"} & set(rows):
        pixels = rows[field]
        if pixels.shape != fitted_shape(pixels.shape, image_size, channels):
            if pixels.dtype == np.uint8 and scale == 1:
                pixels, scale = pixels * np.uint8(255), 255.0  # for the greys of resizing
            rows[field] = fit(pixels, image_size, channels)
    return in_memory(
        rows,
        positions,
        max_resident_bytes=max_resident_bytes,
        name=name,
        split=split,
        decode=decoder(scale),
        **counts,
        **namings,
    )


def _count(rows: Rows) -> int:
    return len(next(iter(rows.values())))
