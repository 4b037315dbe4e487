"""Datasets as random-access sources of rows, decoded on the accelerator.

`readers` reads existing data, `synthetic` generates data, and `load` finds either by a source
string.
"""

from vaejax.data.load import load
from vaejax.data.load_options import LoadOptions
from vaejax.data.map_split import map_over_split, rows_of_split, sum_over_split
from vaejax.data.preprocess import event_shape, preparation
from vaejax.data.readers.npz import from_arrays
from vaejax.data.source import Batch, Rows, Source
from vaejax.data.synthetic import sprites

__all__ = [
    "Batch",
    "LoadOptions",
    "Rows",
    "Source",
    "event_shape",
    "from_arrays",
    "load",
    "map_over_split",
    "preparation",
    "rows_of_split",
    "sprites",
    "sum_over_split",
]
