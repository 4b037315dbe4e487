"""What every other room builds on.

The game (traces, losses, players), the registry of names in configs, schedules, the fields of a
batch, random keys, sharding over devices, and the layout of codes as token sequences.
"""

from vaejax.core import startup as startup  # first: it sets handlers of signals

# isort: split
from vaejax.core.game import (
    Batch,
    Family,
    Latent,
    Losses,
    LossTransform,
    Model,
    Params,
    Player,
    Trace,
    assign,
    chain,
)
from vaejax.core.registry import register, registered
from vaejax.core.schedules import constant, cosine, cyclical, delayed, linear, piecewise
from vaejax.core.sharding import make_mesh

__all__ = [
    "Batch",
    "Family",
    "Latent",
    "LossTransform",
    "Losses",
    "Model",
    "Params",
    "Player",
    "Trace",
    "assign",
    "chain",
    "constant",
    "cosine",
    "cyclical",
    "delayed",
    "linear",
    "make_mesh",
    "piecewise",
    "register",
    "registered",
]
