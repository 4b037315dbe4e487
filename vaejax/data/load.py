"""`load`: from a source string to a `Source`."""

import dataclasses
import difflib
import functools

from vaejax.core.registry import table
from vaejax.data.columns import TableForm
from vaejax.data.load_options import DEFAULT_MAX_BYTES, Loader, LoadOptions
from vaejax.data.readers.folder import load_folder
from vaejax.data.readers.h5ad import load_h5ad
from vaejax.data.readers.hf import load_hf
from vaejax.data.readers.npz import load_npz
from vaejax.data.readers.tables import load_csv, load_parquet
from vaejax.data.readers.tfds import load_tfds
from vaejax.data.readers.wav import load_wav
from vaejax.data.source import DEFAULT_RESIDENT_BYTES, Source
from vaejax.data.synthetic.sequences import SEQUENCES, load_sequence
from vaejax.data.synthetic.sprites_source import VARIANTS, load_sprites
from vaejax.data.synthetic.tables import TABLES, load_synthetic
from vaejax.data.validation import AUTO, NONE, fraction_of, resolve_validation, split_off

__all__ = ["SOURCES", "TABLE_KINDS", "load"]

SOURCES = (
    *("sprites", "sprites:small", "tfds:NAME", "folder:PATH", "npz:PATH", "wav:PATH"),
    "hf:NAME_OR_FOLDER",
    *("csv:PATH", "parquet:PATH", "h5ad:PATH"),
    *(f"synthetic:{table}" for table in (*TABLES, "codes")),
    *SEQUENCES,
)
_OWN: dict[str, Loader] = {
    "sprites": load_sprites,
    "tfds": load_tfds,
    "folder": load_folder,
    "npz": load_npz,
    "wav": load_wav,
    "hf": load_hf,
    "csv": load_csv,
    "parquet": load_parquet,
    "h5ad": load_h5ad,
    "synthetic": load_synthetic,
    **{name: functools.partial(load_sequence, name) for name in SEQUENCES},
}
_LOADERS = table("data", _OWN)
_TABLES = ("csv", "parquet")
TABLE_KINDS = (*_TABLES, "h5ad")
# Option -> the kinds of data that have it.
_TABLE_OPTIONS = {
    **dict.fromkeys(("label", "condition"), TABLE_KINDS),
    **dict.fromkeys(("categories", "drop"), _TABLES),
    "layer": ("h5ad",),
}


def load(
    source: str,
    split: str = "train",
    *,
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    data_dir: str | None = None,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
    max_bytes: int = DEFAULT_MAX_BYTES,
    background: str = "white",
    strict: bool = False,
    validation: str = AUTO,
    length: int = 0,
    missing: str = "refuse",
    workers: int = -1,
    sample_rate: int | None = None,
    label: str = "",
    condition: str = "",
    categories: str = "",
    drop: str = "",
    layer: str = "",
    form: TableForm | None = None,
) -> Source:
    """One split of the dataset that a source string names.

    Args:
      source: one of
        `sprites`: the 737,280 dSprites images, rendered;
        `sprites:small`: 46,080 of them;
        `tfds:NAME`, also `tfds:NAME/CONFIG:VERSION`: a prepared TensorFlow dataset;
        `folder:PATH`: image files;
        `npz:PATH`: NumPy arrays, or a sparse matrix of SciPy;
        `wav:PATH`: sound files;
        `hf:NAME_OR_FOLDER`: a dataset of Hugging Face;
        `h5ad:PATH`: the counts of an AnnData file;
        `csv:PATH`, `parquet:PATH`: a table, one file or a folder of files of one form, which are
        named train and test (or another word for it) if they are splits;
        `synthetic:factors`, `synthetic:waveforms`, `synthetic:speech`, `synthetic:text`,
        `synthetic:codes`: generated vectors, audio clips, vowels, sentences and maps of codes;
        `moving_sprites`, `moving_mnist` (needs `tfds:mnist`), `bouncing_balls`, `oscillator`:
        generated sequences with known motion, optionally with settings, as in
        `moving_sprites:length=40,speeds=2`.
      split: `'train'`, `'eval'` or `'validation'`.
      image_size: height and width of the returned images. Default: as stored.
      channels: 1 or 3 channels of the returned images. Default: as stored.
      holdout: fraction held out for `'eval'` if the data has no splits of its own; at 0 both
        splits are all of the data.
      data_dir: directory of prepared TFDS datasets. Default: `$TFDS_DATA_DIR`, or
        `~/tensorflow_datasets`.
      max_resident_bytes: data larger than this is not held in memory (`Source.arrays` is None).
      max_bytes: of the arrays of an npz file, which is read as a whole, and of one decoded image;
        a larger one is refused.
      background: `'white'` or `'black'`, behind transparent pixels of image files.
      strict: refuses folders with files, folders or links that cannot be read; otherwise these are
        skipped with a warning.
      validation: the validation split: `'auto'` for the data's own, if they have one beside a test
        split; `'none'`; a fraction of the training split, as in `'0.1'`, which the training split
        then lacks; or the name of a split.
      length: sequences, signals and tokens of an npz file are padded to it; 0 for that of the
        longest, if they have different lengths. Sound is cut into pieces of this many samples; 0
        for that of the files.
      workers: processes that read files which do not fit into memory, during a training; -1: a
        choice by their size and the number of cores; 0: threads in this process.
      sample_rate: of sound, in samples per second. Default: as stored.
      missing: what to do with missing values of a table (in an npz file NaN): `'refuse'`, or
        `'mask'` them, which excludes them from all losses and metrics.
      label: the column of a table, or of `obs` of an h5ad file, that holds the class.
      condition: such columns, as in `a,b`, that become the field `condition`.
      categories: columns of a table that hold integers which are categories.
      drop: columns of a table that are left out.
      layer: of an h5ad file, in place of its matrix X.
      form: of the table that a run was trained on: categories get the numbers that they have
        there, and other columns and categories are refused.

    Raises:
      ValueError: unknown source, split or option, data in an unsupported form, or
        `'validation'` of data without such a split.
      FileNotFoundError: the data does not exist.
      ImportError: the packages that read it are not installed.
    """
    options = LoadOptions(
        source,
        split,
        image_size,
        channels,
        holdout,
        data_dir,
        max_resident_bytes,
        max_bytes,
        background,
        strict,
        length=length,
        missing=missing,
        workers=workers,
        sample_rate=sample_rate,
        label=label,
        condition=condition,
        categories=categories,
        drop=drop,
        layer=layer,
        form=form,
    )
    kind, _, argument = source.partition(":")
    if kind == "sprites":
        known = argument in VARIANTS
    elif kind in SEQUENCES or kind not in _OWN:
        known = kind in _LOADERS
    else:
        known = bool(argument)
    if not known:
        raise ValueError(_unknown(source))
    _check_table_options(kind, options)
    return _load_split(_LOADERS[kind], argument, options, validation)


def _load_split(load: Loader, argument: str, options: LoadOptions, validation: str) -> Source:
    """A split, with regard to the validation split."""
    fraction = fraction_of(validation)
    if fraction and options.split != "eval":
        train = load(argument, dataclasses.replace(options, split="train"))
        return split_off(train, fraction, options.split)
    try:
        part = resolve_validation(options.source, validation, options)
    except ValueError:
        if options.split == "validation":
            raise
        part = NONE  # data of a run's form, but without its validation split
    if options.split == "validation" and part == NONE:
        raise ValueError(
            f"{options.source} has no validation split; data.validation=0.1 takes a tenth of the "
            "training data"
        )
    part = "" if part == NONE or fraction is not None else part
    return load(argument, dataclasses.replace(options, part=part))


def _check_table_options(kind: str, options: LoadOptions) -> None:
    """Raises ValueError for settings of tables that have no effect on this kind of data."""
    for name in ("label", "condition", "categories", "drop", "layer"):
        kinds = _TABLE_OPTIONS[name]
        if kind in _OWN and kind not in kinds and getattr(options, name):
            raise ValueError(
                f"data.{name}={getattr(options, name)!r} is for {' and '.join(kinds)}:PATH and has "
                f"no effect on {options.source}: leave it empty"
            )


def _unknown(source: str) -> str:
    """The error message for an unknown source, with the nearest known one."""
    kind, _, argument = source.partition(":")
    sources = (*SOURCES, *(name for name in _LOADERS if name not in _OWN))
    near = difflib.get_close_matches(source, sources, n=1)
    if not near:
        forms = {form.partition(":")[0]: form for form in sources}
        near = [
            f"{name}:{argument}" if argument else forms[name]
            for name in difflib.get_close_matches(kind, forms, n=1)
        ]
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown data source {source!r}: {hint}Known are {', '.join(sources)}"
