"""Figures drawn from the metrics of an evaluation alone."""

from collections.abc import Mapping
from pathlib import Path

from vaejax.core.files import make_folder
from vaejax.visualization.rate_distortion import draw_rate_distortion
from vaejax.visualization.sequence_prediction import draw_prediction_errors

__all__ = ["draw_final_figures"]


def draw_final_figures(folder: Path, metrics: Mapping[str, float]) -> None:
    """Writes `rate_distortion.png` and `horizons.png`, each if the metrics have its numbers."""
    make_folder(folder)
    draw_rate_distortion(folder / "rate_distortion.png", metrics)
    draw_prediction_errors(folder / "horizons.png", metrics)
