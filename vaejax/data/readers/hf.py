"""Datasets of Hugging Face: by name, or a folder that was saved by `datasets`, offline."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vaejax.core.types import Options, Setting
from vaejax.data.load_options import LoadOptions
from vaejax.data.readers.decoded_source import from_reader
from vaejax.data.readers.fields import bit_depth_scale, validate
from vaejax.data.readers.folder import image_shape
from vaejax.data.readers.hf_columns import (
    Columns,
    classes_of,
    columns_of,
    labels_of,
    splits_of,
    stored_files,
    train_and_eval,
)
from vaejax.data.readers.image_files import highest_value, inspect_image, read_image
from vaejax.data.readers.images import fit
from vaejax.data.readers.sound_files import inspect_sound, read_window
from vaejax.data.readers.wav import sound_form, sound_windows, window_positions
from vaejax.data.source import Rows, Source, decoder, hold_out, in_memory

__all__ = ["load_hf"]

_VERSION = 1  # of the read rows


def load_hf(argument: str, options: LoadOptions) -> Source:
    """A dataset of Hugging Face.

    A column of images becomes `image`, or else one of audio `signal`, cut into windows as in
    `wav.load_wav`; or else all columns of numbers, and of lists of numbers of one length, become
    `vector`. The column `label`, or the only one of classes, becomes `label`. The split `'eval'`
    is the test split, or else the validation split; of a dataset with one split, `holdout` is held
    out. The split `'validation'` is that of `options.part`.

    Args:
      argument: a folder written by `save_to_disk`, or of Parquet or Arrow files; or a name on the
        Hub, `NAME` or `NAME:CONFIG`, which is loaded from the cache or the network.
      options: as for `folder.load_folder` and `wav.load_wav`.

    Raises:
      FileNotFoundError: there is no such folder or dataset.
      ImportError: datasets is not installed.
      ValueError: it has no columns that can be used.
    """
    parts = splits_of(argument, options)
    train, held = train_and_eval(parts, options.source)
    wanted = {"train": train, "eval": held, "validation": options.part}[options.split]
    columns = columns_of(parts[train].features, options.source)
    # Shapes and classes are computed from all splits that a run uses, so that they agree.
    used = {name: parts[name] for name in dict.fromkeys((train, held, options.part)) if name}
    classes, names = classes_of(used, columns.label)
    fields: dict[str, Setting] = {
        "name": options.source,
        "split": options.split,
        "num_classes": classes,
        "class_names": names,
    }
    split = options.split if train == held and options.split != "validation" else None
    request = _Request(used, wanted, columns, split, options, fields)
    if columns.image:
        return _image_source(request)
    if columns.audio:
        return _audio_source(request)
    return _vector_source(request)


class _Request(NamedTuple):
    """What is read: the datasets by split, the one wanted, and the part of it to hold out."""

    used: Options
    wanted: str
    columns: Columns
    split: str | None
    options: LoadOptions
    fields: dict[str, Setting]


def _image_source(request: _Request) -> Source:
    used, wanted, columns, split, options, fields = request
    assert columns.image is not None
    files = {name: stored_files(part, columns.image, options.source) for name, part in used.items()}
    numbers = {name: range(len(part)) for name, part in used.items()}
    infos, deep = [], []
    for name, indices in numbers.items():
        of_split = [inspect_image(files[name](i), options.max_bytes) for i in indices]
        infos += of_split
        deep += [(name, i) for i, info in zip(indices, of_split, strict=True) if info.deep]
    shape = image_shape(infos, options.image_size, options.channels)
    size = shape[0] if shape[0] == shape[1] else None
    high = max((highest_value(files[name](i)) for name, i in deep), default=0)
    scale = max(255, int(bit_depth_scale(high)))
    background = 1.0 if options.background == "white" else 0.0
    part, file = used[wanted], files[wanted]
    labels = labels_of(part, columns.label) if columns.label else None

    def read(indices: list[int]) -> Iterator[Rows]:
        for index in indices:
            pixels = read_image(file(index), shape[-1], scale=scale, background=background)
            row = {"image": pixels if pixels.shape == shape else fit(pixels, size, None)}
            if labels is not None:
                row["label"] = labels[index]
            yield row

    count = len(part)
    return from_reader(
        read,
        hold_out(count, split, options.holdout) if split else np.arange(count),
        count=count,
        row_bytes=int(np.prod(shape)) * (1 if scale == 255 else 2),
        threads=True,
        label="hf",
        identity=[_VERSION, part._fingerprint, shape, scale, background, columns],
        max_resident_bytes=options.max_resident_bytes,
        workers=options.workers,
        decode=decoder(float(scale)),
        **fields,
    )


def _audio_source(request: _Request) -> Source:
    used, wanted, columns, split, options, fields = request
    assert columns.audio is not None
    files = {name: stored_files(part, columns.audio, options.source) for name, part in used.items()}
    infos = {
        name: [inspect_sound(files[name](i)) for i in range(len(part))]
        for name, part in used.items()
    }
    rate, length, channels = sound_form([i for each in infos.values() for i in each], options)
    part, file, of_split = used[wanted], files[wanted], infos[wanted]
    labels = labels_of(part, columns.label) if columns.label else None
    windows = sound_windows(of_split, rate, length)

    def read(indices: list[int]) -> Iterator[Rows]:
        for index in indices:
            number, start = (int(n) for n in windows[index])
            info = of_split[number]
            samples = read_window(file(number), info, start, length, rate, "float32")
            if samples.shape[1] > channels:
                samples = samples.mean(axis=1, keepdims=True, dtype=np.float32)
            row = {"signal": samples}
            if labels is not None:
                row["label"] = labels[number]
            yield row

    return from_reader(
        read,
        window_positions(windows, len(part), split, options.holdout),
        count=len(windows),
        row_bytes=length * channels * 4,
        threads=True,
        label="hf",
        identity=[_VERSION, part._fingerprint, rate, length, channels, columns],
        max_resident_bytes=options.max_resident_bytes,
        workers=options.workers,
        decode=decoder(1.0),
        **fields,
    )


def _vector_source(request: _Request) -> Source:
    used, wanted, columns, split, options, fields = request
    part = used[wanted]
    arrays, names = [], []
    for column in columns.vector:
        try:
            values = np.asarray(part.with_format("numpy")[column][:])
            values = values.reshape(len(values), -1)
        except ValueError:  # lists of several lengths
            values = np.empty(0, object)
        if values.dtype.kind not in "biuf":
            raise ValueError(
                f"{column!r} of {options.source} must hold numbers, or lists of one length, and "
                "none may be missing: remove the column, or fill it in"
            )
        arrays.append(values)
        width = int(values.shape[-1])
        names += [column] if width == 1 else [f"{column}[{i}]" for i in range(width)]
    vector = np.concatenate(arrays, axis=1)
    rows = {"vector": validate("vector", "vector", vector, names)}
    if columns.label:
        rows["label"] = labels_of(part, columns.label)
    return in_memory(
        rows,
        hold_out(len(vector), split, options.holdout) if split else np.arange(len(vector)),
        max_resident_bytes=options.max_resident_bytes,
        decode=decoder(1.0),
        column_names=tuple(names),
        **fields,
    )
