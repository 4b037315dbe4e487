"""Models: how networks and bottlenecks make the functions `init`, `forward`, `encode`, `decode`.

Each module is one topology: an autoencoder, a hierarchy of latents, codes at several levels, a
sequence model, ... A model of any topology returns a `Trace` from its forward pass.
"""

from vaejax.models.autoencoder import autoencoder
from vaejax.models.classifier import classifier
from vaejax.models.ladder import Stage, ladder
from vaejax.models.multiscale_codes import multiscale_codes
from vaejax.models.sparse_decoder import build_columns, sparse_decoder
from vaejax.models.state_space import StateSpaceParts, state_space
from vaejax.models.td_vae import TDVAEParts, td_vae

__all__ = [
    "Stage",
    "StateSpaceParts",
    "TDVAEParts",
    "autoencoder",
    "build_columns",
    "classifier",
    "ladder",
    "multiscale_codes",
    "sparse_decoder",
    "state_space",
    "td_vae",
]
