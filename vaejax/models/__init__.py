"""Topologies: how networks and bottlenecks make `(params, batch, key) -> Trace`."""

from vaejax.models.autoencoder import autoencoder
from vaejax.models.classifier import classifier
from vaejax.models.ladder import Stage, ladder
from vaejax.models.multiscale_codes import multiscale_codes
from vaejax.models.sparse_decoder import columns_of, sparse_decoder
from vaejax.models.state_space import StepParts, state_space
from vaejax.models.td_vae import Parts, td_vae

__all__ = [
    "Parts",
    "Stage",
    "StepParts",
    "autoencoder",
    "classifier",
    "columns_of",
    "ladder",
    "multiscale_codes",
    "sparse_decoder",
    "state_space",
    "td_vae",
]
