"""Where TFDS keeps a prepared dataset. Looks at files alone, so a missing one is told at once."""

import difflib
import json
import os
import re
from pathlib import Path

_INFO = "dataset_info.json"
_SPELLING = re.compile(r"(\w+)(?:/([\w.+-]+))?(?::(\d+\.\d+\.\d+))?")


def find_prepared(dataset: str, data_dir: str | None) -> Path:
    """The folder that holds the files of a dataset prepared as `array_record`.

    Args:
      dataset: `NAME`, `NAME/CONFIG`, `NAME:VERSION` or `NAME/CONFIG:VERSION`; the newest version
        and the only config need not be named.
      data_dir: default `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.

    Raises:
      FileNotFoundError: if the dataset is not there, with the commands that prepare it.
      ValueError: if `dataset` is misspelled, or in another file format, or has several configs.
    """
    spelling = _SPELLING.fullmatch(dataset)
    if not spelling:
        raise ValueError(
            f"cannot read 'tfds:{dataset}': expected tfds:NAME, tfds:NAME/CONFIG or either "
            "followed by :VERSION, such as tfds:mnist:3.0.1"
        )
    name, config, version = spelling.groups()
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
        choices = ", ".join(f"tfds:{name}/{each}" for each in configs)
        raise ValueError(f"tfds:{dataset} is prepared with several configs: name one of {choices}")
    newest = max(folders, key=lambda folder: [int(part) for part in folder.name.split(".")])
    file_format = json.loads((newest / _INFO).read_text()).get("fileFormat", "tfrecord")
    if file_format != "array_record":
        raise ValueError(
            f"tfds:{dataset} in {newest} is prepared as {file_format}, which has no random "
            f"access; prepare it again as array_record:\n{_remedy(dataset, root)} --overwrite"
        )
    return newest


def _prepared(folder: Path) -> list[Path]:
    """Version folders, each with its description, at most a config below `folder`."""
    found = [*folder.glob(f"*/{_INFO}"), *folder.glob(f"*/*/{_INFO}")]
    return sorted(info.parent for info in found if re.fullmatch(r"\d+\.\d+\.\d+", info.parent.name))


def _config(folder: Path, root: Path) -> str | None:
    """The config of `root/NAME/VERSION` (None) or `root/NAME/CONFIG/VERSION`."""
    middle = folder.relative_to(root).parts[1:-1]
    return middle[0] if middle else None


def _missing(dataset: str, name: str, root: Path) -> str:
    children = sorted(root.iterdir()) if root.is_dir() else []
    prepared = [child.name for child in children if child.is_dir() and _prepared(child)]
    lines = [f"tfds:{dataset} is not prepared in {root}."]
    if name in prepared:
        there = [str(folder.relative_to(root)) for folder in _prepared(root / name)]
        lines.append(f"Prepared are {', '.join(there)}.")
    elif near := difflib.get_close_matches(name, prepared):
        lines.append(f"Did you mean {' or '.join(f'tfds:{each}' for each in near)}?")
    elif prepared:
        lines.append(f"Prepared are {', '.join(prepared)}.")
    lines.append("Set TFDS_DATA_DIR if datasets lie elsewhere. To prepare it (needs a network):")
    return "\n".join([*lines, _remedy(dataset, root)])


def _remedy(dataset: str, root: Path) -> str:
    return (
        "  pip install 'vaejax[tfds,tf]'\n"
        f"  tfds build {dataset} --file_format=array_record --data_dir={root}"
    )
