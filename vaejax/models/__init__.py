"""Topologies: how networks and bottlenecks make `(params, batch, key) -> Trace`."""

from vaejax.models.autoencoder import autoencoder
from vaejax.models.ladder import Stage, ladder
from vaejax.models.levels import levels
from vaejax.models.sparse_decoder import columns_of, sparse_decoder
from vaejax.models.temporal import Parts, temporal

__all__ = [
    "Parts",
    "Stage",
    "autoencoder",
    "columns_of",
    "ladder",
    "levels",
    "sparse_decoder",
    "temporal",
]
