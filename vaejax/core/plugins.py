"""Imports the modules and files that a config names in `imports`."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from vaejax.core.registry import files_that_registered

__all__ = ["import_plugins", "load_file"]


def import_plugins(names: Iterable[str]) -> None:
    """Imports modules and `.py` files, so that what they register can be used by name.

    A file that has registered something in this process is not run again.

    Args:
      names: module names, or paths that end in `.py`.

    Raises:
      FileNotFoundError: a file does not exist.
      ImportError: a module cannot be imported.
    """
    for name in names:
        if not name.endswith(".py"):
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise ImportError(
                    f"config.imports: cannot import {name!r} ({error}); install it, or put its "
                    "folder on PYTHONPATH"
                ) from error
            continue
        path = Path(name).resolve()
        if not path.is_file():
            raise FileNotFoundError(
                f"config.imports: no file {name}; put it back there, or correct the path in "
                "`imports` of the run's config.json"
            )
        if path not in files_that_registered():
            load_file(path)


def load_file(path: Path) -> ModuleType:
    """Runs a Python file as a module with a name of its own.

    Raises:
      ValueError: it is not a Python file.
    """
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"vaejax_imports_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
