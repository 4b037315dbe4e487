"""Folders of sound files, cut into windows of one length."""

from collections.abc import Iterator, Sequence

import numpy as np

from vaejax.data.load_options import LoadOptions
from vaejax.data.readers.decoded_source import from_reader
from vaejax.data.readers.folder_files import (
    FileKind,
    class_names,
    find_files,
    find_splits,
    names_of_splits,
    root_of,
    versions,
)
from vaejax.data.readers.sound_files import (
    SUFFIXES,
    SoundInfo,
    inspect_sound,
    read_window,
    resampled_frames,
)
from vaejax.data.readers.splits import spare_splits
from vaejax.data.source import Rows, Source, decoder, hold_out

__all__ = ["load_wav", "sound_form", "sound_windows", "wav_spare_splits", "window_positions"]

_SOUNDS = FileKind("sound", SUFFIXES)
_VERSION = 1  # of the read samples


def load_wav(path: str, options: LoadOptions) -> Source:
    """WAV, FLAC and Ogg files below a folder as a `signal` `[T, C]`, in the order of their paths.

    Each file is cut from its start into windows of `length` samples that follow one another, each
    of which is an example; the rest at its end is left out, and a file that is shorter than one
    window is filled up with zeros. Values lie in [−1, 1]. Splits and classes are those of
    `folder.load_folder`. Held out are whole files, so that no recording is in both splits; of a
    single file, a fraction of its windows.

    Args:
      path: the folder.
      options: `length` defaults to that of the files, if all are equal; `sample_rate` to theirs,
        likewise; `channels` to theirs, or 1 for the mean of the channels. Samples larger than
        `max_resident_bytes` in total are read when needed.

    Raises:
      FileNotFoundError: the folder does not exist.
      ImportError: soundfile is not installed.
      ValueError: it contains no sound files, or one cannot be read, or they differ in what the
        options leave open.
    """
    root = root_of(path, "wav:FOLDER", "sound files")
    parts = find_splits(root, _SOUNDS, options.part)
    listed = find_files(parts, _SOUNDS, strict=options.strict)
    infos = {file: inspect_sound(file) for files in listed.values() for file in files}
    rate, length, channels = sound_form(list(infos.values()), options)
    mix = channels == 1 and any(info.channels > 1 for info in infos.values())
    plain = not mix and all(info.exact and info.rate == rate for info in infos.values())
    dtype = "int16" if plain else "float32"

    split = options.split
    part = split if split in parts else "all"
    files = listed[part]
    classes = class_names(parts, listed)
    labels = [classes.index(f.relative_to(parts[part]).parts[0]) if classes else 0 for f in files]
    windows = sound_windows([infos[file] for file in files], rate, length)

    def read(indices: list[int]) -> Iterator[Rows]:
        for index in indices:
            number, start = windows[index]
            file = files[number]
            samples = read_window(file, infos[file], int(start), length, rate, dtype)
            if mix:
                samples = samples.mean(axis=1, keepdims=True, dtype=np.float32)
            row = {"signal": samples}
            if classes:
                row["label"] = np.asarray(labels[number], np.int32)
            yield row

    return from_reader(
        read,
        window_positions(windows, len(files), None if part == split else split, options.holdout),
        count=len(windows),
        row_bytes=length * channels * np.dtype(dtype).itemsize,
        threads=True,
        label=f"wav-{root.name}",
        identity=[_VERSION, rate, length, channels, dtype, classes, versions(files)],
        max_resident_bytes=options.max_resident_bytes,
        workers=options.workers,
        name=options.source,
        split=split,
        sample_rate=rate,
        decode=decoder(1.0),
        num_classes=len(classes) or None,
        class_names=classes or None,
    )


def wav_spare_splits(path: str, options: LoadOptions) -> tuple[str, ...]:
    """The folders, in lower case, of splits that are neither `'train'` nor `'eval'`.

    Raises:
      FileNotFoundError: the folder does not exist.
    """
    return spare_splits(names_of_splits(root_of(path, "wav:FOLDER", "sound files")))


def sound_form(infos: Sequence[SoundInfo], options: LoadOptions) -> tuple[int, int, int]:
    """Rate, length and channels of the examples.

    Raises:
      ValueError: an option is missing, since the files differ, or cannot be met.
    """

    def one(values: set[int], what: str, remedy: str) -> int:
        if len(values) == 1:
            return values.pop()
        raise ValueError(
            f"the sound files of {options.source} differ in {what}, from {min(values)} to "
            f"{max(values)}: set {remedy}"
        )

    rates = {info.rate for info in infos}
    rate = options.sample_rate or one(rates, "samples per second", "data.sample_rate")
    lengths = {resampled_frames(info, rate) for info in infos}
    length = options.length or one(lengths, "length", "data.length, in samples of an example")
    found = {info.channels for info in infos}
    if options.channels not in (None, 1, *found):
        raise ValueError(
            f"{options.source} has files of {max(found)} channels, found data.channels="
            f"{options.channels}: use 1 for their mean, or 0 for all of them"
        )
    channels = options.channels or one(found, "channels", "data.channels=1 for their mean")
    if channels > 1 and len(found) > 1:
        one(found, "channels", "data.channels=1 for their mean")
    return rate, length, channels


def sound_windows(infos: Sequence[SoundInfo], rate: int, length: int) -> np.ndarray:
    """Number of the file, and first sample, of every window, int64 `[N, 2]`."""
    counts = [max(1, resampled_frames(info, rate) // length) for info in infos]
    file = np.repeat(np.arange(len(infos)), counts)
    return np.stack([file, length * np.concatenate([np.arange(n) for n in counts])], axis=1)


def window_positions(
    windows: np.ndarray, files: int, split: str | None, holdout: float
) -> np.ndarray:
    """The windows of a split; None for all."""
    if split is None:
        return np.arange(len(windows))
    if files == 1:
        return hold_out(len(windows), split, holdout)
    held = hold_out(files, split, holdout)
    return np.flatnonzero(np.isin(windows[:, 0], held))
