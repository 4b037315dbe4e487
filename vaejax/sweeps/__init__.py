"""Grids of hyperparameters and seeds, trained as one compiled program."""

from vaejax.sweeps.grid import Grid, product
from vaejax.sweeps.sweep import Sweep, select

__all__ = ["Grid", "Sweep", "product", "select"]
