"""Colours of the figures, and matplotlib, imported when the first figure is drawn."""

import os
import sys
from pathlib import Path
from typing import Any

from vaejax.core.files import replacing
from vaejax.core.paths import as_path

__all__ = ["COLOURS", "INK", "LINES", "MUTED", "PALE", "load_pyplot", "save"]

INK, MUTED, PALE = "#222222", "#8a8a8a", "#bdbdbd"
LINES = {"train": "#3b6ea5", "eval": "#d1603d", "validation": "#4f8f5b"}
COLOURS = ("#3b6ea5", "#d1603d", "#4f8f5b", "#8a5a9e", "#b08a2e", "#5a7d8a")  # of several lines


def load_pyplot() -> Any:
    """matplotlib's pyplot, drawing to files unless another backend is in use, such as Jupyter's.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "figures need matplotlib: pip install 'vaejax[train]' (or 'matplotlib')"
        ) from error
    # Jupyter sets its backend in the environment before anything is imported.
    if "MPLBACKEND" not in os.environ and "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: Path, **options: Any) -> None:
    """Writes a figure of matplotlib.

    Args:
      figure: of matplotlib.
      path: of the file, whose suffix is the format.
      **options: of `savefig`.

    Raises:
      WriteError: the file cannot be written.
    """
    with replacing(as_path(path)) as temporary:
        figure.savefig(temporary, **options)
