"""Finding the files of one kind, images or sound, and the splits of a folder."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from vaejax.data.readers.splits import EVAL_WORDS, SPLIT_WORDS, TRAIN_WORDS

__all__ = [
    "FileKind",
    "class_names",
    "find_files",
    "find_splits",
    "names_of_splits",
    "root_of",
    "versions",
]

_log = logging.getLogger(__name__)


class FileKind(NamedTuple):
    """What files are looked for.

    Attributes:
      name: singular, for errors.
      suffixes: lower case, with the dot.
    """

    name: str
    suffixes: tuple[str, ...]

    def includes(self, path: Path) -> bool:
        """Whether a path has one of the suffixes, and is not hidden."""
        return path.suffix.lower() in self.suffixes and not is_hidden(path)


def is_hidden(path: Path) -> bool:
    """Whether it is of the system or of a program: `.x`, `._x.png`, `__MACOSX`."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def find_splits(root: Path, kind: FileKind, validation: str = "") -> dict[str, Path]:
    """The folders of `'train'` and `'eval'` directly inside, or `{'all': root}`.

    Args:
      root: the folder.
      kind: of the files.
      validation: the folder, in lower case, of a third split `'validation'`; `''` for none.

    Raises:
      ValueError: splits without a training folder, two training folders, or another folder of
        such files beside the splits.
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
    others = [p.name for p in folders if p not in splits and _holds_files(p, kind)]
    if others:
        raise ValueError(
            f"{root} has {kind.name}s in {', '.join(others)}, beside its splits ({found}): "
            f"known names of splits are {', '.join(SPLIT_WORDS)}; rename or move the other folders"
        )
    held_out = [p for word in EVAL_WORDS for p in splits if names[p] == word]
    if not held_out:
        return {"all": train[0]}
    third = [p for p in held_out[1:] if names[p] == validation]
    parts = {"train": train[0], "eval": held_out[0]}
    return {**parts, "validation": third[0]} if third else parts


def root_of(path: str, source: str, files: str) -> Path:
    """The folder of a source.

    Args:
      path: of the folder.
      source: the form of the source string, for the error: `'folder:PATH'`.
      files: what it holds, for the error.

    Raises:
      FileNotFoundError: the folder does not exist.
    """
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: {source} needs a folder of {files}")
    return root


def names_of_splits(root: Path) -> list[str]:
    """The names, in lower case, of the folders directly inside that are splits."""
    folders = [p for p in root.iterdir() if p.is_dir() and not is_hidden(p)]
    return sorted(p.name.lower() for p in folders if p.name.lower() in SPLIT_WORDS)


def _holds_files(folder: Path, kind: FileKind) -> bool:
    return any(kind.includes(Path(f)) for _, _, files in os.walk(folder) for f in files)


def find_files(
    parts: Mapping[str, Path], kind: FileKind, *, strict: bool = False
) -> dict[str, list[Path]]:
    """All files of a kind below each folder, sorted.

    Linked folders are followed, each folder is read once. Hidden files and folders are skipped.
    What cannot be read is counted in a warning.

    Args:
      parts: folders by the name of their split.
      kind: of the files.
      strict: refuses folders with files, folders or links that cannot be read.

    Raises:
      ValueError: a folder without such files; a folder that names a split below another; or with
        `strict`, something that cannot be read.
    """
    visited: set[tuple[int, int]] = set()
    unreadable: list[str] = []
    links: list[tuple[str, Path]] = []
    files: dict[str, list[Path]] = {part: [] for part in parts}

    def add(part: str, folder: Path) -> None:
        for path in _walk(folder, kind, visited, unreadable):
            if path.is_dir():
                links.append((part, path))
            else:
                files[part].append(path)

    for part, folder in parts.items():
        add(part, folder)
    while links:  # after all real folders, so that these keep their own place
        add(*links.pop(0))
    for part, folder in parts.items():
        _check(folder, kind, files[part])
    if unreadable:
        _report(parts, unreadable, strict)
    return {part: sorted(found) for part, found in files.items()}


def _walk(
    folder: Path, kind: FileKind, visited: set[tuple[int, int]], unreadable: list[str]
) -> Iterator[Path]:
    """Files of a kind below a folder, and links to folders, which are not followed."""
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
            if path.suffix.lower() in kind.suffixes or not path.suffix:
                unreadable.append(f"{path} (a link to nothing)")
        elif path.is_dir():
            if link:
                yield path
            else:
                yield from _walk(path, kind, visited, unreadable)
        elif kind.includes(path) and path.is_file():
            if os.access(path, os.R_OK):
                yield path
            else:
                unreadable.append(f"{path} (no permission to read)")


def _check(folder: Path, kind: FileKind, files: list[Path]) -> None:
    """Raises ValueError without files, or if one is in a folder that names a split."""
    if not files:
        expected = ", ".join(kind.suffixes)
        raise ValueError(f"no {kind.name} files below {folder}: expected {expected}")
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


def class_names(parts: dict[str, Path], listed: dict[str, list[Path]]) -> tuple[str, ...]:
    """Sorted first-level folder names; none if a file is in no sub-folder, or all are in one."""
    relative = [f.relative_to(parts[part]).parts for part, files in listed.items() for f in files]
    if any(len(names) == 1 for names in relative):
        return ()
    classes = tuple(sorted({names[0] for names in relative}))
    return classes if len(classes) > 1 else ()


def versions(files: list[Path]) -> list[tuple[str, int, int]]:
    """What changes whenever one of the files does."""
    stats = [file.stat() for file in files]
    return [(str(f), s.st_size, s.st_mtime_ns) for f, s in zip(files, stats, strict=True)]
