"""Where the config files of the library are: in the wheel, or at the top of a checkout."""

from pathlib import Path

import vaejax

__all__ = ["stock_configs"]


def stock_configs() -> Path:
    """The folder of the library's config files."""
    package = Path(vaejax.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"
