"""What `load` was asked for, for the sources that are made on the spot."""

from typing import NamedTuple

from vaejax.data.source import DEFAULT_RESIDENT_BYTES

TRAIN, EVAL = 10_000, 1000  # sequences in the splits of what is drawn at random


class Request(NamedTuple):
    """The arguments of `load`, beside the settings that the source string gives.

    Attributes:
      name: the source string.
      split: `'train'` or `'eval'`.
      image_size: height and width, or None.
      channels: 1, 3 or None.
      holdout: where the data has no splits of its own.
      data_dir: where TFDS datasets are prepared.
      max_resident_bytes: data larger than this gets `arrays=None`.
    """

    name: str
    split: str
    image_size: int | None = None
    channels: int | None = None
    holdout: float = 0.1
    data_dir: str | None = None
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES

    @property
    def sized(self) -> tuple[int, int]:
        """How many sequences the split has, and the seed of their draws."""
        return (TRAIN, 0) if self.split == "train" else (EVAL, 1)

    def grey(self, default: int) -> int:
        """The side, in pixels, of frames of one channel.

        Raises:
          ValueError: more channels are wanted.
        """
        if self.channels not in (None, 1):
            raise ValueError(f"{self.name!r} has one channel, found channels={self.channels}")
        return self.image_size or default


def check_range(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raises ValueError unless low <= value <= high; NaN is refused too."""
    if not low <= value <= high:
        limits = f"at least {low}" if high == float("inf") else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be {limits}, found {value}")
