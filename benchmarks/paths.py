"""The configs that benchmarks read and the files that they write, in a checkout or installed."""

import importlib
import json
from pathlib import Path
from typing import Any

from vaejax.core.files import finite_or_null, write_text

__all__ = ["config_of", "figure_path", "result_path", "root", "write_json"]

# The package of `benchmarks` and `configs`: none in a checkout, `vaejax` if installed.
_PARENT = __package__.rpartition(".")[0]


def root() -> Path | None:
    """The root of the checkout; None if the benchmarks are installed."""
    return None if _PARENT else Path(__file__).resolve().parents[1]


def config_of(name: str) -> dict[str, Any]:
    """The config of a file in `configs/`, as nested dicts.

    Args:
      name: FILE or FILE:SETTING.
    """
    file, _, setting = name.partition(":")
    module = importlib.import_module(".".join(filter(None, (_PARENT, "configs", file))))
    config = module.get_config(setting) if setting else module.get_config()
    return config.to_dict()


def result_path(name: str) -> Path:
    """`benchmarks/results/NAME` of the checkout, or `results/NAME` in the current directory."""
    checkout = root()
    return (checkout / "benchmarks/results" if checkout else Path("results")) / name


def figure_path(name: str) -> Path:
    """`docs/figures/NAME` of the checkout, or `results/NAME` in the current directory."""
    checkout = root()
    return (checkout / "docs/figures" if checkout else Path("results")) / name


def write_json(path: Path, value: Any, *, indent: int | None = 2, **options: Any) -> None:
    """Writes a JSON file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(finite_or_null(value), indent=indent, allow_nan=False, **options)
    write_text(path, text + "\n")
