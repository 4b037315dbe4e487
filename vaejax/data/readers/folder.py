"""Folders of image files."""

from pathlib import Path

import numpy as np

from vaejax.data.readers.decoded_source import from_reader
from vaejax.data.readers.images import SUFFIXES, check_request, fit, inspect_image, read_image
from vaejax.data.source import (
    DEFAULT_RESIDENT_BYTES,
    Rows,
    Source,
    check_split,
    decode_rows,
    hold_out,
)

DEFAULT_IMAGE_SIZE = 64
EVAL_FOLDERS = ("test", "val", "valid", "validation")


def load_folder(
    path: str,
    split: str = "train",
    *,
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
) -> Source:
    """PNG, JPEG and WebP files below a folder, in the order of their sorted paths.

    With a folder `train` and one of `test`, `val`, `valid`, `validation` directly inside, these
    are the splits; otherwise `holdout` of the files are held out. If every file lies in one of
    several sub-folders (of the split), the first-level sub-folders are the classes of `label`.

    Args:
      path: the folder.
      split: `'train'` or `'eval'`.
      image_size: height and width. Default: as they are, if all are equal, else 64.
      channels: 1 or 3. Default: 1 if all images are grey, else 3.
      holdout: fraction held out for `'eval'` where there are no split folders.
      max_resident_bytes: decoded images larger than this in total are read as they are needed.

    Raises:
      FileNotFoundError: if there is no such folder.
      ValueError: if it holds no images, or one cannot be read.
    """
    check_split(split)
    check_request(image_size, channels)
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(
            f"no folder {root}: folder:PATH needs a folder of PNG, JPEG or WebP files"
        )
    held = next((name for name in EVAL_FOLDERS if (root / name).is_dir()), None)
    if held and (root / "train").is_dir():
        # Shape and classes are those of both splits together, so that they agree.
        parts = {"train": root / "train", "eval": root / held}
    else:
        parts = {"all": root}
    listed = {part: _image_files(folder) for part, folder in parts.items()}
    every = [file for files in listed.values() for file in files]
    image_shape = _shape(every, image_size, channels)
    size = image_shape[0] if image_shape[0] == image_shape[1] else None

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
    seen = [(str(f), s.st_size, s.st_mtime_ns) for f, s in zip(files, stats, strict=True)]
    return from_reader(
        read,
        np.arange(len(files)) if part == split else hold_out(len(files), split, holdout),
        count=len(files),
        row_bytes=int(np.prod(image_shape)),
        threads=True,
        label=f"folder-{root.name}",
        identity=[image_shape, classes, seen],
        max_resident_bytes=max_resident_bytes,
        name=f"folder:{path}",
        split=split,
        decode=decode_rows,
        num_classes=len(classes) or None,
        class_names=classes or None,
    )


def _image_files(folder: Path) -> list[Path]:
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not files:
        raise ValueError(f"no image files below {folder}: expected {', '.join(SUFFIXES)}")
    return files


def _class_names(parts: dict[str, Path], listed: dict[str, list[Path]]) -> tuple[str, ...]:
    """Sorted first-level folder names; none if a file lies in no sub-folder, or all in one."""
    relative = [f.relative_to(parts[part]).parts for part, files in listed.items() for f in files]
    if any(len(names) == 1 for names in relative):
        return ()
    classes = tuple(sorted({names[0] for names in relative}))
    return classes if len(classes) > 1 else ()


def _shape(files: list[Path], image_size: int | None, channels: int | None) -> tuple[int, int, int]:
    """Height, width and channels that all images are given."""
    if image_size is None:
        sizes = {inspect_image(file)[0] for file in files}
        height, width = sizes.pop() if len(sizes) == 1 else (DEFAULT_IMAGE_SIZE,) * 2
    else:
        height = width = image_size
    if channels is None:
        channels = 1 if all(inspect_image(file)[1] for file in files) else 3
    return height, width, channels
