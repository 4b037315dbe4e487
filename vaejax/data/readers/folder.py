"""Folders of image files."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from vaejax.data.load_options import LoadOptions
from vaejax.data.readers.cache import load_or_build
from vaejax.data.readers.decoded_source import digest_of, from_reader
from vaejax.data.readers.fields import bit_depth_scale
from vaejax.data.readers.folder_files import (
    FileKind,
    class_names,
    find_files,
    find_splits,
    names_of_splits,
    root_of,
    versions,
)
from vaejax.data.readers.image_files import (
    SUFFIXES,
    ImageInfo,
    highest_value,
    inspect_image,
    read_image,
)
from vaejax.data.readers.images import fit
from vaejax.data.readers.splits import spare_splits
from vaejax.data.source import Rows, Source, decoder, hold_out

__all__ = ["folder_spare_splits", "image_shape", "load_folder"]

_IMAGES = FileKind("image", SUFFIXES)
_DEFAULT_IMAGE_SIZE = 64
_VERSION = 2  # of the decoded pixels


def load_folder(path: str, options: LoadOptions) -> Source:
    """PNG, JPEG, WebP, TIFF and BMP files below a folder, in the order of their sorted paths.

    Folders directly inside that name splits, in any case, are the splits: `train` or `training`;
    and `test`, `testing`, `eval`, `val`, `valid`, `validation` or `dev`, the first of these that
    exists; a further one is the split `'validation'`, see `LoadOptions.part`. Without them
    `holdout` of the files are held out. If every file is in one of several sub-folders (of the
    split), the first-level sub-folders are the classes of `label`.

    Images of more than 8 bits keep them: the depth of all splits is the least, of 8 to 16 bits,
    that holds the largest value. Transparent pixels show `background`. Hidden files and folders are
    skipped, linked folders are followed once.

    Args:
      path: the folder.
      options: `image_size` defaults to the files' own if all are equal, else to 64; `channels`
        defaults to 1 if all images are grey, else to 3; decoded images larger than
        `max_resident_bytes` in total are read when needed.

    Raises:
      FileNotFoundError: the folder does not exist.
      ValueError: it contains no images, or one cannot be read, or its splits are not clear.
    """
    root = root_of(path, "folder:PATH", "image files")
    parts = find_splits(root, _IMAGES, options.part)
    listed = find_files(parts, _IMAGES, strict=options.strict)
    # Shape, depth and classes are computed from all splits, so that they agree.
    all_files = [file for files in listed.values() for file in files]
    infos = [inspect_image(file, options.max_bytes) for file in all_files]
    shape = image_shape(infos, options.image_size, options.channels)
    size = shape[0] if shape[0] == shape[1] else None
    scale = _scale(root, [f for f, info in zip(all_files, infos, strict=True) if info.deep])
    background = 1.0 if options.background == "white" else 0.0

    split = options.split
    part = split if split in parts else "all"
    files = listed[part]
    classes = class_names(parts, listed)
    labels = [classes.index(f.relative_to(parts[part]).parts[0]) if classes else 0 for f in files]

    def read(indices: list[int]) -> Iterator[Rows]:
        for index in indices:
            pixels = read_image(files[index], shape[-1], scale=scale, background=background)
            row = {"image": pixels if pixels.shape == shape else fit(pixels, size, None)}
            if classes:
                row["label"] = np.asarray(labels[index], np.int32)
            yield row

    return from_reader(
        read,
        np.arange(len(files)) if part == split else hold_out(len(files), split, options.holdout),
        count=len(files),
        row_bytes=int(np.prod(shape)) * (1 if scale == 255 else 2),
        threads=True,
        label=f"folder-{root.name}",
        identity=[_VERSION, shape, scale, background, classes, versions(files)],
        max_resident_bytes=options.max_resident_bytes,
        workers=options.workers,
        name=options.source,
        split=split,
        decode=decoder(float(scale)),
        num_classes=len(classes) or None,
        class_names=classes or None,
    )


def folder_spare_splits(path: str, options: LoadOptions) -> tuple[str, ...]:
    """The folders, in lower case, of splits that are neither `'train'` nor `'eval'`.

    Raises:
      FileNotFoundError: the folder does not exist.
    """
    return spare_splits(names_of_splits(root_of(path, "folder:PATH", "image files")))


def _scale(root: Path, deep: list[Path]) -> int:
    """The largest value of decoded pixels: 255, or of the depth of the files of more than 8 bits.

    Args:
      root: the folder, for the name of the cached result.
      deep: the files of more than 8 bits, all of which are read.
    """
    if not deep:
        return 255

    def read() -> Rows:
        with ThreadPoolExecutor() as pool:
            return {"high": np.array([max(pool.map(highest_value, deep))])}

    name = f"depth-{root.name}-{digest_of([_VERSION, versions(deep)])}"
    return max(255, int(bit_depth_scale(int(load_or_build(name, read)["high"][0]))))


def image_shape(
    infos: Sequence[ImageInfo], image_size: int | None, channels: int | None
) -> tuple[int, int, int]:
    """Height, width and channels of the returned images."""
    if image_size is None:
        sizes = {info.size for info in infos}
        height, width = sizes.pop() if len(sizes) == 1 else (_DEFAULT_IMAGE_SIZE,) * 2
    else:
        height = width = image_size
    if channels is None:
        channels = 1 if all(info.grey for info in infos) else 3
    return height, width, channels
