"""Topologies: how networks and bottlenecks make `(params, batch, key) -> Trace`."""

from vaejax.models.autoencoder import autoencoder
from vaejax.models.classifier import classifier
from vaejax.models.ladder import Stage, ladder
from vaejax.models.levels import levels
from vaejax.models.sparse_decoder import columns_of, sparse_decoder
from vaejax.models.state_space import StepParts, state_space
from vaejax.models.temporal import Parts, temporal

__all__ = [
    "Parts",
    "Stage",
    "StepParts",
    "autoencoder",
    "classifier",
    "columns_of",
    "ladder",
    "levels",
    "sparse_decoder",
    "state_space",
    "temporal",
]
