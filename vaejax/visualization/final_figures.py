"""Figures drawn from the metrics of an evaluation alone."""

from collections.abc import Mapping
from pathlib import Path

from vaejax.core.registry import registered
from vaejax.visualization.rate_distortion import draw_rate_distortion
from vaejax.visualization.sequence_prediction import draw_prediction_errors

__all__ = ["draw_final_figures"]

_FIGURES = (draw_rate_distortion, draw_prediction_errors)


def draw_final_figures(folder: Path, metrics: Mapping[str, float]) -> None:
    """Writes the figures of metrics whose numbers there are, those registered among them."""
    folder.mkdir(parents=True, exist_ok=True)
    for draw in (*_FIGURES, *registered("figure").values()):
        draw(metrics, folder)
