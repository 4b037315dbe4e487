"""Plots of NumPy arrays and numbers, each written to a PNG (or GIF) file by matplotlib.

Every function takes the path of the file first, as in `plots.save_grid(path, images, columns)`.
"""

from vaejax.visualization.plots.film_strips import (
    OBSERVED,
    PREDICTED,
    UNMARKED,
    animation,
    film_reconstructions,
    film_samples,
    is_film,
    rollouts,
    strips,
)
from vaejax.visualization.plots.image_grids import (
    image_reconstructions,
    image_samples,
    is_image,
    save_grid,
    tile,
    traversals,
)
from vaejax.visualization.plots.ladder_layers import (
    kl_per_layer,
    resampled_layers,
    top_layer_reconstructions,
)
from vaejax.visualization.plots.latent_space import Panel, interpolations, latent_map
from vaejax.visualization.plots.metric_charts import bars, code_usage, curves, errors_by_horizon
from vaejax.visualization.plots.rate_distortion import (
    rate_distortion_curve,
    rate_distortion_of_sweep,
)
from vaejax.visualization.plots.signals import (
    signal_predictions,
    signal_reconstructions,
    signal_samples,
)
from vaejax.visualization.plots.style import INK, LINES, load_pyplot
from vaejax.visualization.plots.sweeps import sweep

__all__ = [
    "INK",
    "LINES",
    "OBSERVED",
    "PREDICTED",
    "UNMARKED",
    "Panel",
    "animation",
    "bars",
    "code_usage",
    "curves",
    "errors_by_horizon",
    "film_reconstructions",
    "film_samples",
    "image_reconstructions",
    "image_samples",
    "interpolations",
    "is_film",
    "is_image",
    "kl_per_layer",
    "latent_map",
    "load_pyplot",
    "rate_distortion_curve",
    "rate_distortion_of_sweep",
    "resampled_layers",
    "rollouts",
    "save_grid",
    "signal_predictions",
    "signal_reconstructions",
    "signal_samples",
    "strips",
    "sweep",
    "tile",
    "top_layer_reconstructions",
    "traversals",
]
