"""Figures drawn from the metrics of an evaluation alone."""

from collections.abc import Mapping
from pathlib import Path

from vaejax.core.files import make_folder
from vaejax.core.registry import registered

__all__ = ["draw_final_figures"]


def draw_final_figures(folder: Path, metrics: Mapping[str, float]) -> None:
    """Writes the figures of metrics whose numbers there are, those registered among them."""
    make_folder(folder)
    for draw in registered("figure").values():
        draw(metrics, folder)
