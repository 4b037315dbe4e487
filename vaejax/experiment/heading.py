"""The table that a training begins with."""

import jax

from vaejax.experiment.experiment import Experiment
from vaejax.training.logging import table

__all__ = ["heading"]


def heading(experiment: Experiment) -> str:
    """What is trained on which data and devices, as a table."""
    leaves = jax.tree.leaves(experiment.trainer.state_shape.params)
    mesh, config = experiment.mesh, experiment.config
    device = mesh.devices.flat[0]
    train_size, held_out = experiment.train_source.size, experiment.source.size
    validation = experiment.validation
    selecting = "" if validation is None else f"{validation.size:,} to validate on, "
    rows = [
        ("examples", f"{train_size:,} to train on, {selecting}{held_out:,} to evaluate on"),
        ("parameters", f"{sum(leaf.size for leaf in leaves):,}"),
        ("devices", f"{mesh.size} × {device.device_kind} ({device.platform})"),
        ("working directory", str(experiment.workdir)),
    ]
    return table(f"{config['family']} on {config['data']['source']}", rows)
