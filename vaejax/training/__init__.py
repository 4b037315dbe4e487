"""Training: one step for all families, on one device or a mesh, with exact resumption."""

from vaejax.training.logging import read_records
from vaejax.training.loop import Outcome, fit
from vaejax.training.loop_output import NotFiniteError
from vaejax.training.settings import Settings
from vaejax.training.train_step import eval_params
from vaejax.training.trainer import Trainer
from vaejax.training.two_stage import FirstStage, first_stage

__all__ = [
    "FirstStage",
    "NotFiniteError",
    "Outcome",
    "Settings",
    "Trainer",
    "eval_params",
    "first_stage",
    "fit",
    "read_records",
]
