"""Finding prepared TFDS datasets by their files, so that a missing one is reported quickly."""

import difflib
import json
import os
import re
from pathlib import Path

__all__ = ["find_prepared"]

_INFO = "dataset_info.json"
_PATTERN = re.compile(r"(\w+)(?:/([\w.+-]+))?(?::(\d+\.\d+\.\d+))?")


def find_prepared(dataset: str, data_dir: str | None) -> Path:
    """The folder with the files of a dataset prepared as `array_record`.

    Args:
      dataset: `NAME`, `NAME/CONFIG`, `NAME:VERSION` or `NAME/CONFIG:VERSION`; defaults are the
        newest version and the only config.
      data_dir: default `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.

    Raises:
      FileNotFoundError: the dataset is not prepared; the message has the commands that prepare it.
      ValueError: `dataset` is malformed, or in another file format, or has several configs.
    """
    match = _PATTERN.fullmatch(dataset)
    if not match:
        raise ValueError(
            f"cannot read 'tfds:{dataset}': expected tfds:NAME, tfds:NAME/CONFIG or either "
            "followed by :VERSION, such as tfds:mnist:3.0.1"
        )
    name, config, version = match.groups()
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    root = root.expanduser()
    folders = [
        folder
        for folder in _prepared(root / name)
        if config in (None, _config(folder, root)) and version in (None, folder.name)
    ]
    if not folders:
        raise FileNotFoundError(_missing(dataset, name, root))
    configs = sorted({_config(folder, root) or "" for folder in folders})
    if len(configs) > 1:
        choices = ", ".join(f"tfds:{name}/{choice}" for choice in configs)
        raise ValueError(f"tfds:{dataset} is prepared with several configs: use one of {choices}")
    newest = max(folders, key=lambda folder: [int(part) for part in folder.name.split(".")])
    file_format = json.loads((newest / _INFO).read_text()).get("fileFormat", "tfrecord")
    if file_format != "array_record":
        raise ValueError(
            f"tfds:{dataset} in {newest} is prepared as {file_format}, which has no random "
            f"access; prepare it again as array_record:\n{_commands(dataset, root)} --overwrite"
        )
    return newest


def _prepared(folder: Path) -> list[Path]:
    """The version folders with a description, directly below `folder` or below a config."""
    infos = [*folder.glob(f"*/{_INFO}"), *folder.glob(f"*/*/{_INFO}")]
    return sorted(info.parent for info in infos if re.fullmatch(r"\d+\.\d+\.\d+", info.parent.name))


def _config(folder: Path, root: Path) -> str | None:
    """The config of `root/NAME/VERSION` (None) or `root/NAME/CONFIG/VERSION`."""
    middle = folder.relative_to(root).parts[1:-1]
    return middle[0] if middle else None


def _missing(dataset: str, name: str, root: Path) -> str:
    """The error message for a dataset that is not prepared."""
    children = sorted(root.iterdir()) if root.is_dir() else []
    prepared = [child.name for child in children if child.is_dir() and _prepared(child)]
    lines = [f"tfds:{dataset} is not prepared in {root}."]
    if name in prepared:
        versions = [str(folder.relative_to(root)) for folder in _prepared(root / name)]
        lines.append(f"Prepared are {', '.join(versions)}.")
    elif near := difflib.get_close_matches(name, prepared):
        lines.append(f"Did you mean {' or '.join(f'tfds:{match}' for match in near)}?")
    elif prepared:
        lines.append(f"Prepared are {', '.join(prepared)}.")
    lines.append("Set TFDS_DATA_DIR to use another folder. To prepare it (needs a network):")
    return "\n".join([*lines, _commands(dataset, root)])


def _commands(dataset: str, root: Path) -> str:
    """The commands that prepare the dataset."""
    return (
        "  pip install 'vaejax[tfds,tf]'\n"
        f"  tfds build {dataset} --file_format=array_record --data_dir={root}"
    )
