"""The figure of the rate-distortion curve, drawn from the metrics of a run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vaejax.core.registry import register
from vaejax.evaluation.rate_distortion import DISTORTION, RATE
from vaejax.visualization import plots

__all__ = ["draw_rate_distortion"]


@register("figure", "annealing")
def draw_rate_distortion(metrics: Mapping[str, float], folder: Path) -> bool:
    """Writes `rate_distortion.png`, the curve of `annealed_metrics`, if there is one."""
    betas = [n.removeprefix(RATE) for n in metrics if n.startswith(RATE) and n != f"{RATE}q"]
    if not betas:
        return False
    betas.sort(key=float)
    curve = np.array([[metrics[RATE + b], metrics[DISTORTION + b]] for b in betas])
    encoder = metrics[f"{RATE}q"], metrics[f"{DISTORTION}q"]
    plots.rate_distortion_curve(folder / "rate_distortion.png", curve, betas, encoder)
    return True
