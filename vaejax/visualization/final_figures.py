"""Figures drawn from the metrics of an evaluation alone."""

from collections.abc import Mapping
from pathlib import Path

from vaejax.visualization.rate_distortion import draw_rate_distortion
from vaejax.visualization.sequence_prediction import draw_horizons


def draw_further(folder: Path, figures: Mapping[str, float]) -> None:
    """The pictures that are made of figures alone, where there are such figures."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_rate_distortion(folder / "rate_distortion.png", figures)
    draw_horizons(folder / "horizons.png", figures)
