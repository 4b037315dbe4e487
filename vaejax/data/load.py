"""`load`: from a source string to a `Source`."""

import difflib
import functools
from collections.abc import Callable

from vaejax.data.readers.folder import load_folder
from vaejax.data.readers.images import check_request
from vaejax.data.readers.npz import load_npz
from vaejax.data.readers.tfds import load_tfds
from vaejax.data.source import DEFAULT_RESIDENT_BYTES, Source, check_split
from vaejax.data.synthetic.sequences import SEQUENCES, load_sequences
from vaejax.data.synthetic.sprites_source import VARIANTS, load_sprites
from vaejax.data.synthetic.tables import TABLES, load_synthetic

KINDS = (
    *("sprites", "sprites:small", "tfds:NAME", "folder:PATH", "npz:PATH"),
    *(f"synthetic:{table}" for table in (*TABLES, "codes")),
    *SEQUENCES,
)


def load(
    source: str,
    split: str = "train",
    *,
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    data_dir: str | None = None,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
) -> Source:
    """One split of the dataset that a source string names.

    Args:
      source: `sprites` (the 737,280 dSprites images, rendered), `sprites:small` (46,080 of them),
        `tfds:NAME` (also `NAME/CONFIG:VERSION`), `folder:PATH`, `npz:PATH`, or what is
        made on the spot: the table `synthetic:factors`, clips of sound `synthetic:waveforms`,
        sentences `synthetic:text`, maps of codes `synthetic:codes`, or sequences whose motion is
        known: `moving_sprites`, `moving_mnist` (which needs `tfds:mnist`), `bouncing_balls` and
        `oscillator`, each also with settings, as in `moving_sprites:length=40,speeds=2`.
      split: `'train'` or `'eval'`.
      image_size: height and width to give to images. Default: their own.
      channels: 1 or 3, to give to images. Default: their own.
      holdout: fraction held out for `'eval'` where the data has no splits of its own; at 0 both
        splits are all of the data.
      data_dir: where TFDS datasets are prepared. Default: `$TFDS_DATA_DIR`, or
        `~/tensorflow_datasets`.
      max_resident_bytes: data larger than this gets `arrays=None`.

    Raises:
      ValueError: for an unknown source, split or option, or data in a form that is not accepted.
      FileNotFoundError: if the data is not there.
      ImportError: if the packages that read it are not installed.
    """
    check_split(split)
    check_request(image_size, channels)
    kind, _, argument = source.partition(":")
    loaders: dict[str, Callable[..., Source]] = {
        "sprites": load_sprites,
        "tfds": functools.partial(load_tfds, data_dir=data_dir),
        "folder": load_folder,
        "npz": load_npz,
        "synthetic": load_synthetic,
        **{name: functools.partial(load_sequences, name, data_dir=data_dir) for name in SEQUENCES},
    }
    if kind == "sprites":
        known = argument in VARIANTS
    else:
        known = kind in SEQUENCES or (kind in loaders and bool(argument))
    if not known:
        raise ValueError(_unknown(source))
    return loaders[kind](
        argument,
        split,
        image_size=image_size,
        channels=channels,
        holdout=holdout,
        max_resident_bytes=max_resident_bytes,
    )


def _unknown(source: str) -> str:
    kind, _, argument = source.partition(":")
    near = difflib.get_close_matches(source, KINDS, n=1)
    if not near:
        forms = {form.partition(":")[0]: form for form in KINDS}
        near = [
            f"{each}:{argument}" if argument else forms[each]
            for each in difflib.get_close_matches(kind, forms, n=1)
        ]
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown data source {source!r}: {hint}Known are {', '.join(KINDS)}"
