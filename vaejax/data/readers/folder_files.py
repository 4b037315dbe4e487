"""Finding the image files and the splits of a folder."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from vaejax.data.readers.image_files import SUFFIXES
from vaejax.data.readers.splits import EVAL_WORDS, SPLIT_WORDS, TRAIN_WORDS

__all__ = ["find_images", "find_splits", "names_of_splits"]

_log = logging.getLogger(__name__)


def is_hidden(path: Path) -> bool:
    """Whether it is of the system or of a program: `.x`, `._x.png`, `__MACOSX`."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def find_splits(root: Path, validation: str = "") -> dict[str, Path]:
    """The folders of `'train'` and `'eval'` directly inside, or `{'all': root}`.

    Args:
      root: the folder.
      validation: the folder, in lower case, of a third split `'validation'`; `''` for none.

    Raises:
      ValueError: splits without a training folder, two training folders, or another folder of
        images beside the splits.
    """
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not is_hidden(p))
    names = {p: p.name.lower() for p in folders}
    splits = [p for p in folders if names[p] in SPLIT_WORDS]
    if not splits:
        return {"all": root}
    train = [p for p in splits if names[p] in TRAIN_WORDS]
    found = ", ".join(p.name for p in splits)
    if len(train) != 1:
        raise ValueError(
            f"{root} has {'no' if not train else 'more than one'} training folder among its "
            f"splits ({found}): there must be one, named 'train'; pass a split as folder:PATH to "
            "use it alone"
        )
    others = [p.name for p in folders if p not in splits and _holds_images(p)]
    if others:
        raise ValueError(
            f"{root} has images in {', '.join(others)}, beside its splits ({found}): known names "
            f"of splits are {', '.join(SPLIT_WORDS)}; rename or move the other folders"
        )
    held_out = [p for word in EVAL_WORDS for p in splits if names[p] == word]
    if not held_out:
        return {"all": train[0]}
    third = [p for p in held_out[1:] if names[p] == validation]
    parts = {"train": train[0], "eval": held_out[0]}
    return {**parts, "validation": third[0]} if third else parts


def names_of_splits(root: Path) -> list[str]:
    """The names, in lower case, of the folders directly inside that are splits."""
    folders = [p for p in root.iterdir() if p.is_dir() and not is_hidden(p)]
    return sorted(p.name.lower() for p in folders if p.name.lower() in SPLIT_WORDS)


def _holds_images(folder: Path) -> bool:
    return any(_is_image(Path(f)) for _, _, files in os.walk(folder) for f in files)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not is_hidden(path)


def find_images(parts: Mapping[str, Path], *, strict: bool = False) -> dict[str, list[Path]]:
    """All image files below each folder, sorted.

    Linked folders are followed, each folder is read once. Hidden files and folders are skipped.
    What cannot be read is counted in a warning.

    Args:
      parts: folders by the name of their split.
      strict: refuses folders with files, folders or links that cannot be read.

    Raises:
      ValueError: a folder without images; a folder that names a split below another; or with
        `strict`, something that cannot be read.
    """
    visited: set[tuple[int, int]] = set()
    unreadable: list[str] = []
    links: list[tuple[str, Path]] = []
    files: dict[str, list[Path]] = {part: [] for part in parts}

    def add(part: str, folder: Path) -> None:
        for path in _walk(folder, visited, unreadable):
            if path.is_dir():
                links.append((part, path))
            else:
                files[part].append(path)

    for part, folder in parts.items():
        add(part, folder)
    while links:  # after all real folders, so that these keep their own place
        add(*links.pop(0))
    for part, folder in parts.items():
        _check(folder, files[part])
    if unreadable:
        _report(parts, unreadable, strict)
    return {part: sorted(found) for part, found in files.items()}


def _walk(folder: Path, visited: set[tuple[int, int]], unreadable: list[str]) -> Iterator[Path]:
    """Image files below a folder, and links to folders, which are not followed."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        entries = sorted(folder.iterdir())
    except OSError as error:
        unreadable.append(f"{folder} ({error.strerror})")
        return
    for path in entries:
        if is_hidden(path):
            continue
        link = path.is_symlink()
        if link and not path.exists():
            if path.suffix.lower() in SUFFIXES or not path.suffix:
                unreadable.append(f"{path} (a link to nothing)")
        elif path.is_dir():
            if link:
                yield path
            else:
                yield from _walk(path, visited, unreadable)
        elif _is_image(path) and path.is_file():
            if os.access(path, os.R_OK):
                yield path
            else:
                unreadable.append(f"{path} (no permission to read)")


def _check(folder: Path, files: list[Path]) -> None:
    """Raises ValueError without files, or if one is in a folder that names a split."""
    if not files:
        raise ValueError(f"no image files below {folder}: expected {', '.join(SUFFIXES)}")
    for file in files:
        for name in file.relative_to(folder).parts[:-1]:
            if name.lower() in SPLIT_WORDS:
                raise ValueError(
                    f"the folder {name!r} of {file} names a split, but is not directly inside the "
                    "given folder: pass the folder that holds the splits, with classes inside of "
                    "them, as in train/CLASS and test/CLASS"
                )


def _report(parts: Mapping[str, Path], unreadable: list[str], strict: bool) -> None:
    where = ", ".join(map(str, parts.values()))
    text = f"{len(unreadable)} files, folders or links below {where} cannot be read"
    if strict:
        raise ValueError(
            f"{text}, the first is {unreadable[0]}: remove them, or skip them with "
            "data.strict=False"
        )
    _log.warning("%s and are skipped, the first is %s", text, unreadable[0])
