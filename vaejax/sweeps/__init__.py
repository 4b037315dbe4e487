"""Grids of hyperparameters and seeds, trained as one compiled program."""

from vaejax.sweeps.evaluate import grid_table, results, sweep_evaluator
from vaejax.sweeps.grid import Grid, product
from vaejax.sweeps.sweep import Sweep, select

__all__ = [
    "Grid",
    "Sweep",
    "grid_table",
    "product",
    "results",
    "select",
    "sweep_evaluator",
]
