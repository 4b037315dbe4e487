"""The fields that every config has, with their defaults; `configs/` fills in the rest."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from vaejax.core.registry import near_names
from vaejax.training import Settings


def defaults(family: str) -> ConfigDict:
    """A config of a family before its networks, losses and data are chosen."""
    config = ConfigDict()
    config.seed = 0
    config.family = family
    config.data = ConfigDict()
    config.data.source = "sprites:small"  # sprites, tfds:NAME, folder:PATH, npz:PATH
    config.data.image_size = 0  # resize and crop to this many pixels; 0 leaves images as they are
    config.data.channels = 0  # convert to 1 or 3; 0 leaves them
    config.data.holdout = 0.1  # fraction to evaluate on, where the data has no split of its own
    config.data.binarize = "none"  # none, threshold, dynamic
    config.data.quadrants = 0  # of an image that are given, the others to be explained; 0 for off
    config.data.condition_dropout = 0.0  # share of training examples without their condition
    config.model = ConfigDict()
    config.players = ConfigDict()
    config.train = ConfigDict(dataclasses.asdict(Settings()))
    config.train.eval_examples = 2000  # at checkpoints; the evaluation at the end sees them all
    config.mesh = ConfigDict({"data": -1, "fsdp": 1})  # devices; -1: all that are left
    # Draws of z for `log_likelihood` at the end, 0 for none, and of how many examples, 0 for all.
    config.evaluate = ConfigDict({"samples": 0, "examples": 0})
    config.evaluate.disentanglement = False  # at the end, of data with factors; minutes long
    config.evaluate.information = 0  # examples for mutual information and marginal KL; 0 for none
    # Of how many samples to tell sharpness, 0 for none; and with features (the --workdir of a run
    # of configs/classifier.py, or a file, see docs/metrics.md) Fréchet distance and more.
    config.evaluate.update({"generated": 0, "features": ""})
    # Annealed importance sampling at the end, if there are temperatures; minutes long.
    config.evaluate.annealing = ConfigDict({"temperatures": 0, "chains": 16, "leapfrog": 10})
    config.evaluate.annealing.update({"step_size": 0.1, "examples": 100})
    config.sample = ConfigDict({"count": 64, "temperature": 1.0})
    # Many models in one program, see the README: every choice of values for fields of `model` and
    # `players`, "players.vae.minimizes.kl=1,4; model.likelihood.scale=0.1,1", with each of so many
    # seeds from `seed` on.
    config.sweep = ConfigDict({"over": "", "seeds": 1})
    config.sweep.chunk = 0  # models at once on a device; 0: all, on CPU one if it is large
    config.sweep.model = -1  # one of them, to look at, or to go on with alone
    config.sweep.figures = ""  # in the table and the plot, such as "elbo,mse"; the usual ones
    return config


def choose(settings: Mapping[str, Callable[[ConfigDict], None]], name: str, of: str) -> Any:
    """The setting of a config file that was asked for as `file.py:name`.

    Raises:
      ValueError: there is no such setting.
    """
    if name not in settings:
        raise ValueError(f"{of} has no setting {near_names(name, settings)}")
    return settings[name]
