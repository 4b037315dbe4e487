"""Datasets as random-access sources of rows, decoded on the accelerator."""

from vaejax.data import sprites
from vaejax.data.loading import load
from vaejax.data.npz import from_arrays
from vaejax.data.source import Batch, Rows, Source

__all__ = ["Batch", "Rows", "Source", "from_arrays", "load", "sprites"]
