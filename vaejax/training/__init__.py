"""Training: one step for every family, sharded over a mesh, resumed exactly."""

from vaejax.training.loop import NotFiniteError, Outcome, fit
from vaejax.training.settings import Settings
from vaejax.training.trainer import Trainer

__all__ = ["NotFiniteError", "Outcome", "Settings", "Trainer", "fit"]
