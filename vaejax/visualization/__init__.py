"""Figures of trained models, as PNG, GIF and text files.

`draw_figures` draws all figures of a run, `plots` holds single figures of NumPy arrays. Numbers are
computed in `vaejax.evaluation`.
"""

from importlib.util import find_spec

if find_spec("matplotlib") is None:
    raise ImportError(
        "vaejax.visualization needs matplotlib: pip install 'vaejax[train]' (or 'matplotlib')"
    )

from vaejax.visualization import plots
from vaejax.visualization.final_figures import draw_final_figures
from vaejax.visualization.latent_space import draw_interpolations, draw_latent_map, draw_traversals
from vaejax.visualization.learned_prior import draw_prior_samples
from vaejax.visualization.rate_distortion import draw_rate_distortion
from vaejax.visualization.report import draw_figures, draw_samples
from vaejax.visualization.sequence_prediction import draw_prediction_errors, draw_predictions

__all__ = [
    "draw_figures",
    "draw_final_figures",
    "draw_interpolations",
    "draw_latent_map",
    "draw_prediction_errors",
    "draw_predictions",
    "draw_prior_samples",
    "draw_rate_distortion",
    "draw_samples",
    "draw_traversals",
    "plots",
]
