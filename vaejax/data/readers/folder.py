"""Folders of image files."""

from pathlib import Path

import numpy as np

from vaejax.data.load_options import LoadOptions
from vaejax.data.readers.decoded_source import from_reader
from vaejax.data.readers.images import SUFFIXES, fit, inspect_image, read_image
from vaejax.data.source import Rows, Source, decode_rows, hold_out

__all__ = ["load_folder"]

_DEFAULT_IMAGE_SIZE = 64
_EVAL_FOLDERS = ("test", "val", "valid", "validation")


def load_folder(path: str, options: LoadOptions) -> Source:
    """PNG, JPEG and WebP files below a folder, in the order of their sorted paths.

    With a folder `train` and one of `test`, `val`, `valid`, `validation` directly inside, these
    are the splits; otherwise `holdout` of the files are held out. If every file is in one of
    several sub-folders (of the split), the first-level sub-folders are the classes of `label`.

    Args:
      path: the folder.
      options: `image_size` defaults to the files' own if all are equal, else to 64; `channels`
        defaults to 1 if all images are grey, else to 3; decoded images larger than
        `max_resident_bytes` in total are read when needed.

    Raises:
      FileNotFoundError: the folder does not exist.
      ValueError: it contains no images, or one cannot be read.
    """
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(
            f"no folder {root}: folder:PATH needs a folder of PNG, JPEG or WebP files"
        )
    eval_folder = next((name for name in _EVAL_FOLDERS if (root / name).is_dir()), None)
    if eval_folder and (root / "train").is_dir():
        parts = {"train": root / "train", "eval": root / eval_folder}
    else:
        parts = {"all": root}
    listed = {part: _image_files(folder) for part, folder in parts.items()}
    # Shape and classes are computed from all splits, so that they agree.
    all_files = [file for files in listed.values() for file in files]
    image_shape = _shape(all_files, options.image_size, options.channels)
    size = image_shape[0] if image_shape[0] == image_shape[1] else None

    split = options.split
    part = split if split in parts else "all"
    files = listed[part]
    classes = _class_names(parts, listed)
    labels = [classes.index(f.relative_to(parts[part]).parts[0]) if classes else 0 for f in files]

    def read(indices: list[int]) -> list[Rows]:
        examples = []
        for index in indices:
            pixels = read_image(files[index], image_shape[-1])
            row = {"image": fit(pixels, size, None)}
            if classes:
                row["label"] = np.asarray(labels[index], np.int32)
            examples.append(row)
        return examples

    stats = [file.stat() for file in files]
    versions = [(str(f), s.st_size, s.st_mtime_ns) for f, s in zip(files, stats, strict=True)]
    return from_reader(
        read,
        np.arange(len(files)) if part == split else hold_out(len(files), split, options.holdout),
        count=len(files),
        row_bytes=int(np.prod(image_shape)),
        threads=True,
        label=f"folder-{root.name}",
        identity=[image_shape, classes, versions],
        max_resident_bytes=options.max_resident_bytes,
        name=options.source,
        split=split,
        decode=decode_rows,
        num_classes=len(classes) or None,
        class_names=classes or None,
    )


def _image_files(folder: Path) -> list[Path]:
    """All image files below the folder, sorted; raises ValueError if there are none."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not files:
        raise ValueError(f"no image files below {folder}: expected {', '.join(SUFFIXES)}")
    return files


def _class_names(parts: dict[str, Path], listed: dict[str, list[Path]]) -> tuple[str, ...]:
    """Sorted first-level folder names; none if a file is in no sub-folder, or all are in one."""
    relative = [f.relative_to(parts[part]).parts for part, files in listed.items() for f in files]
    if any(len(names) == 1 for names in relative):
        return ()
    classes = tuple(sorted({names[0] for names in relative}))
    return classes if len(classes) > 1 else ()


def _shape(files: list[Path], image_size: int | None, channels: int | None) -> tuple[int, int, int]:
    """Height, width and channels of the returned images."""
    if image_size is None:
        sizes = {inspect_image(file)[0] for file in files}
        height, width = sizes.pop() if len(sizes) == 1 else (_DEFAULT_IMAGE_SIZE,) * 2
    else:
        height = width = image_size
    if channels is None:
        channels = 1 if all(inspect_image(file)[1] for file in files) else 3
    return height, width, channels
