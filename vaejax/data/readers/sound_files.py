"""Reading parts of sound files at a given rate of samples."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaejax.core.types import Untyped
from vaejax.data.readers.image_files import StoredFile

__all__ = ["SUFFIXES", "SoundInfo", "inspect_sound", "read_window", "resampled_frames"]

SUFFIXES = (".wav", ".flac", ".ogg")

_INT16 = ("PCM_16", "PCM_S8", "PCM_U8")  # forms of samples that 16 bits hold
_FILTER = 10  # zero crossings of the filter of `scipy.signal.resample_poly`, on each side


class SoundInfo(NamedTuple):
    """What the header of a sound file says.

    Attributes:
      frames: number of samples of each channel.
      rate: samples per second.
      channels: number of them.
      exact: whether 16 bits hold the samples.
    """

    frames: int
    rate: int
    channels: int
    exact: bool


SoundFile = Path | StoredFile


def _rewound(path: SoundFile) -> str | StoredFile:
    if isinstance(path, Path):
        return str(path)
    path.seek(0)
    return path


def _soundfile() -> Untyped:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: without the library libsndfile
        raise ImportError(
            f"wav: sources need a package that is not installed ({error}): "
            "pip install 'vaejax[audio]'"
        ) from error
    return soundfile


def inspect_sound(path: SoundFile) -> SoundInfo:
    """The header of a sound file.

    Raises:
      ImportError: soundfile is not installed.
      ValueError: the file cannot be read, or is empty.
    """
    soundfile = _soundfile()
    try:
        info = soundfile.info(_rewound(path))
    except Exception as error:  # the decoder's own errors, of several types
        raise ValueError(f"cannot read the sound file {path}: {_one_line(error)}") from error
    if info.frames < 1 or info.samplerate < 1:
        raise ValueError(f"the sound file {path} has no samples")
    exact = info.format == "WAV" and info.subtype in _INT16
    exact = exact or (info.format == "FLAC" and info.subtype in _INT16)
    return SoundInfo(info.frames, info.samplerate, info.channels, exact)


def resampled_frames(info: SoundInfo, rate: int) -> int:
    """The number of samples of a file at another rate."""
    return -(-info.frames * rate // info.rate)


def read_window(
    path: SoundFile, info: SoundInfo, start: int, length: int, rate: int, dtype: str
) -> np.ndarray:
    """Samples `[length, channels]` of a part of a file, zeros after its end.

    Another rate is computed by `scipy.signal.resample_poly` from the samples that its filter
    reaches, and equals the same part of the whole file after resampling.

    Args:
      path: of the file.
      info: of it.
      start: first sample, at the given rate.
      length: number of samples.
      rate: samples per second.
      dtype: `'int16'`, of which 32,768 is 1, for files of the same rate; or `'float32'`.

    Raises:
      ValueError: the file cannot be read, or has samples that are not finite.
    """
    if rate == info.rate:
        samples = _read(path, start, length, dtype)
    else:
        from scipy.signal import resample_poly

        divisor = math.gcd(rate, info.rate)
        up, down = rate // divisor, info.rate // divisor
        reach = -(-_FILTER * max(up, down) // up) + 1
        # A multiple of `down`, which is a whole number of samples at the new rate.
        first = max(0, start * down // up - reach) // down * down
        last = -(-(start + length) * down // up) + reach
        read = _read(path, first, last - first, "float32").astype(np.float64)
        offset = start - first // down * up
        samples = resample_poly(read, up, down, axis=0)[offset : offset + length]
        samples = samples.astype(np.float32)
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise ValueError(f"the sound file {path} has samples that are not finite")
    if len(samples) < length:
        missing = length - len(samples)
        samples = np.concatenate([samples, np.zeros((missing, samples.shape[1]), samples.dtype)])
    return samples


def _read(path: SoundFile, start: int, frames: int, dtype: str) -> np.ndarray:
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(_rewound(path)) as file:
            file.seek(start)
            return np.asarray(file.read(frames, dtype=dtype, always_2d=True))
    except Exception as error:
        raise ValueError(f"cannot read the sound file {path}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
