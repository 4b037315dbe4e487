"""The rate-distortion curve of annealed importance sampling, drawn from the metrics of a run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vaejax.evaluation.rate_distortion import DISTORTION, RATE
from vaejax.visualization.plots import rate_distortion


def draw_rate_distortion(path: Path, figures: Mapping[str, float]) -> bool:
    """The curve as a picture, where `annealed_figures` are among the figures; whether they are."""
    betas = [n.removeprefix(RATE) for n in figures if n.startswith(RATE) and n != f"{RATE}q"]
    if not betas:
        return False
    betas.sort(key=float)
    curve = np.array([[figures[RATE + b], figures[DISTORTION + b]] for b in betas])
    own = figures[f"{RATE}q"], figures[f"{DISTORTION}q"]
    rate_distortion.rate_distortion(path, curve, betas, own)
    return True
