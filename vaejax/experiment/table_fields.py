"""The fields of the section `data` that are for tables alone."""

import dataclasses

from vaejax.core.fields import field

__all__ = ["TableFields"]


@dataclasses.dataclass(frozen=True)
class TableFields:
    """Columns of a table, and the layer of an h5ad file."""

    label: str = field("", "of tables: the column that holds the class")
    condition: str = field("", "of tables: columns that condition the model, as in 'a,b'")
    categories: str = field("", "of tables: columns of integers that are categories, as in 'a,b'")
    drop: str = field("", "of tables: columns that are left out, as in 'a,b'")
    layer: str = field("", "of h5ad files: the layer that is read in place of X")
