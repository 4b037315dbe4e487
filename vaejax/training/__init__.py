"""Training: one step for every family, sharded over a mesh, resumed exactly."""

from vaejax.training.grid import Grid, product
from vaejax.training.loop import NotFiniteError, Outcome, fit
from vaejax.training.plan import Settings
from vaejax.training.sweep import Sweep, select
from vaejax.training.trainer import Trainer

__all__ = [
    "Grid",
    "NotFiniteError",
    "Outcome",
    "Settings",
    "Sweep",
    "Trainer",
    "fit",
    "product",
    "select",
]
