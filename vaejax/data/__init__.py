"""Datasets as random-access sources of rows, decoded on the accelerator.

`readers` reads existing data, `synthetic` generates data, and `load` finds either by a source
string.
"""

from vaejax.data.load import load
from vaejax.data.readers.npz import from_arrays
from vaejax.data.source import Batch, Rows, Source
from vaejax.data.synthetic import sprites

__all__ = ["Batch", "Rows", "Source", "from_arrays", "load", "sprites"]
