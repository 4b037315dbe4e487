"""The options of `load`, which every loader receives as one value."""

import dataclasses
from collections.abc import Callable

from vaejax.data.columns import TableForm
from vaejax.data.source import DEFAULT_RESIDENT_BYTES, Source, check_split

__all__ = ["DEFAULT_MAX_BYTES", "EVAL_SIZE", "TRAIN_SIZE", "LoadOptions", "Loader", "check_range"]

# Sequences in the splits of randomly generated datasets.
TRAIN_SIZE, EVAL_SIZE = 10_000, 1000
DEFAULT_MAX_BYTES = 2**35


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """The arguments of `load`.

    Attributes:
      source: the source string, which becomes the name of the `Source`.
      split: `'train'`, `'eval'` or `'validation'`; the last only together with `part`.
      image_size: height and width of the returned images in pixels; None keeps the stored size.
      channels: 1 or 3 channels of the returned images; None keeps the stored number.
      holdout: fraction of the examples held out for `'eval'` if the data has no splits.
      data_dir: directory of prepared TFDS datasets.
      max_resident_bytes: data larger than this is not held in memory (`Source.arrays` is None).
      max_bytes: of what one file holds, arrays or an image, decoded; a larger one is refused.
      background: of transparent pixels of image files, `'white'` or `'black'`.
      strict: refuses folders with files that cannot be read, which otherwise are skipped.
      part: the data's own name of the split that is `'validation'`; `''` for none. All splits are
        read in the same form.
      length: sequences, signals and tokens are padded to it, and sound is cut into pieces of it; 0
        for that of the longest, or of the files.
      missing: `'refuse'` tables with missing values (NaN), or `'mask'` these values.
      workers: processes that read files which do not fit into memory; -1: a choice by their
        size and the number of cores; 0: threads.
      sample_rate: of sound, in samples per second; None keeps that of the files.
      label: the column of a table that holds the class.
      condition: columns of a table, as in `a,b`, that are the condition of a conditional model.
      categories: columns of a table that hold integers which are categories.
      drop: columns of a table that are left out.
      layer: of an h5ad file, in place of its matrix X.
      form: of the table that a run was trained on, by which its categories are numbered.

    Raises:
      ValueError: unknown split or background, or an impossible image size or number of channels.
    """

    source: str
    split: str = "train"
    image_size: int | None = None
    channels: int | None = None
    holdout: float = 0.1
    data_dir: str | None = None
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES
    max_bytes: int = DEFAULT_MAX_BYTES
    background: str = "white"
    strict: bool = False
    part: str = ""
    length: int = 0
    missing: str = "refuse"
    workers: int = -1
    sample_rate: int | None = None
    label: str = ""
    condition: str = ""
    categories: str = ""
    drop: str = ""
    layer: str = ""
    form: TableForm | None = None

    def __post_init__(self) -> None:
        check_split(self.split)
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"image_size must be positive, found {self.image_size}")
        if self.background not in ("white", "black"):
            raise ValueError(f"data.background must be white or black, found {self.background!r}")
        if self.missing not in ("refuse", "mask"):
            raise ValueError(f"data.missing must be refuse or mask, found {self.missing!r}")
        if self.length < 0:
            raise ValueError(f"data.length must be at least 0, found {self.length}")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 or 3, found {self.channels}")

    @property
    def size_and_seed(self) -> tuple[int, int]:
        """Number of sequences in the split, and the seed that generates them."""
        return (TRAIN_SIZE, 0) if self.split == "train" else (EVAL_SIZE, 1)

    def frame_side(self, default: int) -> int:
        """Height and width, in pixels, of generated single-channel frames.

        Raises:
          ValueError: more than one channel is requested.
        """
        if self.channels not in (None, 1):
            raise ValueError(f"{self.source!r} has one channel, found channels={self.channels}")
        return self.image_size or default


# (the part of the source string after the first colon, options) -> the dataset's split.
Loader = Callable[[str, LoadOptions], Source]


def check_range(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raises ValueError unless low <= value <= high; NaN raises too."""
    if not low <= value <= high:
        limits = f"at least {low}" if high == float("inf") else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be {limits}, found {value}")
