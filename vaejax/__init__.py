"""Variational autoencoders in JAX.

A model's forward pass returns a `Trace`, losses are named numbers made from it by a `chain` of
transforms, and each `Player` minimises its own weighted sum of them over the parameters it owns. A
`Family` is these three together.

This page lists the public names; `docs/stability.md` says what that means. Everything else is
imported from a room, as in `from vaejax.losses import total_correlation`.
"""

import functools
import importlib
from typing import TYPE_CHECKING, Any

from vaejax import (
    core,
    data,
    distributions,
    families,
    latents,
    losses,
    models,
    networks,
    optimizers,
    quantizers,
)
from vaejax.core.bottleneck import Bottleneck
from vaejax.core.game import Family, Latent, LossTransform, Model, Player, Trace, assign, chain
from vaejax.core.registry import load_when_used, register, registered
from vaejax.core.sharding import make_mesh
from vaejax.data import Source, from_arrays
from vaejax.data import load as load_data
from vaejax.distributions import Capabilities
from vaejax.distributions.likelihoods import Likelihood, likelihood
from vaejax.latents.priors import LatentPrior
from vaejax.networks import Network
from vaejax.optimizers.build import players
from vaejax.quantizers import Quantizer

if TYPE_CHECKING:
    from vaejax import evaluation, export, interop, second_stage, sweeps, training, visualization
    from vaejax.evaluation.context import EvaluationContext
    from vaejax.evaluation.evaluate import evaluator
    from vaejax.evaluation.metric import Metric
    from vaejax.experiment.load_run import load_run
    from vaejax.experiment.trained_model import Run
    from vaejax.training import Settings, Trainer, fit

__version__ = "0.2.0"

# Imported when first used: they need Orbax, or packages of an extra.
_LAZY = {
    **{room: f"vaejax.{room}" for room in ("evaluation", "export", "second_stage", "sweeps")},
    **{room: f"vaejax.{room}" for room in ("interop", "training", "visualization")},
    "EvaluationContext": "vaejax.evaluation.context",
    "Metric": "vaejax.evaluation.metric",
    "Run": "vaejax.experiment.trained_model",
    "Settings": "vaejax.training",
    "Trainer": "vaejax.training",
    "evaluator": "vaejax.evaluation.evaluate",
    "fit": "vaejax.training",
    "load_run": "vaejax.experiment.load_run",
}


for _kind, _room in (("metric", "vaejax.evaluation"), ("figure", "vaejax.visualization")):
    load_when_used(_kind, functools.partial(importlib.import_module, _room))


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'vaejax' has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name])
    return module if _LAZY[name] == f"vaejax.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "Bottleneck",
    "Capabilities",
    "EvaluationContext",
    "Family",
    "Latent",
    "LatentPrior",
    "Likelihood",
    "LossTransform",
    "Metric",
    "Model",
    "Network",
    "Player",
    "Quantizer",
    "Run",
    "Settings",
    "Source",
    "Trace",
    "Trainer",
    "__version__",
    "assign",
    "chain",
    "core",
    "data",
    "distributions",
    "evaluation",
    "evaluator",
    "export",
    "families",
    "fit",
    "from_arrays",
    "interop",
    "latents",
    "likelihood",
    "load_data",
    "load_run",
    "losses",
    "make_mesh",
    "models",
    "networks",
    "optimizers",
    "players",
    "quantizers",
    "register",
    "registered",
    "second_stage",
    "sweeps",
    "training",
    "visualization",
]
